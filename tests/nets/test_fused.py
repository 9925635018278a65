"""The compiled normalisation and rectifier: the same function as PyTorch's two, in any case."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from anogen.nets import fused
from anogen.nets.fused import Layers, kernels

compiled = pytest.mark.skipif(kernels() is None, reason="there is no C++ compiler")


def channels_last(*shape, dtype=torch.float32):
    torch.manual_seed(0)
    x = (torch.randn(shape) * 3 + 5).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


def layers(channels, rectifier=None):
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(norm, rectifier or nn.LeakyReLU(0.1))


def run(net, x, dtype=torch.float32):
    """The output, the gradients of a loss that weighs every value, and the statistics."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = net(x)
    slope = torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(dtype)
    gradients = torch.autograd.grad(y, [x, *net.parameters()], slope)
    return [y, *gradients, *net.buffers()]


def is_compiled(y):
    return "NormaliseAndRectify" in type(y.grad_fn).__name__


@compiled
@pytest.mark.parametrize("rectifier", [nn.LeakyReLU(0.1), nn.ReLU(), nn.LeakyReLU(inplace=True)])
@pytest.mark.parametrize("shape", [(2, 1, 5, 5), (4, 3, 7, 9), (3, 64, 14, 14), (1, 33, 4, 3)])
def test_equals_the_plain_layers_of_float64(shape, rectifier):
    plain = layers(shape[1], rectifier)
    ours = Layers(*copy.deepcopy(plain))
    x = channels_last(*shape)
    assert is_compiled(ours(x))
    ours = Layers(*copy.deepcopy(plain))
    for found, wanted in zip(run(ours, x), run(plain.double(), x.double()), strict=True):
        scale = wanted.abs().max().item() or 1.0
        torch.testing.assert_close(found.double(), wanted.double(), rtol=0, atol=2e-5 * scale)


@compiled
def test_in_bfloat16_no_worse_than_pytorch():
    exact = layers(32)
    x = channels_last(8, 32, 12, 12, dtype=torch.bfloat16)
    ours, theirs = Layers(*copy.deepcopy(exact)), copy.deepcopy(exact)
    wanted = run(exact.double(), x.double(), torch.double)
    with torch.autocast("cpu", torch.bfloat16):
        pairs = run(ours, x, torch.bfloat16), run(theirs, x, torch.bfloat16)
    for found, other, true in zip(*pairs, wanted, strict=True):
        assert found.dtype == other.dtype
        error, allowed = ((a - true).double().norm() for a in (found, other))
        assert error <= 1.05 * allowed + 1e-6 * true.double().norm()


@compiled
def test_keeps_its_digits_where_the_mean_is_large():
    x = channels_last(4, 2, 8, 8) + 1e4
    found = Layers(nn.BatchNorm2d(2), nn.ReLU())(x)
    wanted = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()).double()(x.double())
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-3)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_for_any_number_of_threads(dtype):
    x, net = channels_last(5, 24, 13, 11, dtype=dtype), Layers(*layers(24))
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(run(copy.deepcopy(net), x, dtype))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@compiled
def test_gradient_of_the_gradient():
    def penalty_gradient(net):
        x = channels_last(3, 4, 6, 6).requires_grad_()
        (slope,) = torch.autograd.grad((net(x) ** 2).sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), list(net.parameters()))

    plain = layers(4)
    for found, wanted in zip(
        penalty_gradient(Layers(*copy.deepcopy(plain))), penalty_gradient(plain), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@compiled
def test_gradient_of_the_gradient_past_what_is_frozen():
    net = Layers(nn.Conv2d(1, 4, 3), *layers(4)).to(memory_format=torch.channels_last)
    for weight in (net[0].weight, net[0].bias, net[1].bias):
        weight.requires_grad_(False)
    y = net(torch.rand(2, 1, 6, 6))
    assert is_compiled(y)
    (slope,) = torch.autograd.grad(y.square().sum(), net[1].weight, create_graph=True)
    slope.square().sum().backward()
    assert net[1].weight.grad.abs().sum() > 0


@compiled
def test_gradients_of_any_layout_and_nan_pass_through():
    plain = layers(4)
    ours, x = Layers(*copy.deepcopy(plain)), channels_last(2, 4, 6, 6)
    for net in (ours, plain):
        net(x).flatten(1).sum().backward()  # an expanded gradient, without a layout of its own
    torch.testing.assert_close(ours[0].bias.grad, plain[0].bias.grad)
    x[0, 0, 0, 0] = torch.nan
    assert ours(x)[:, 0].isnan().all()
    assert not ours(x)[:, 1:].isnan().any()
    assert ours(x.bfloat16())[:, 0].isnan().all()


def strided(net):
    """Weights that do not lie one after the other."""
    net[0].weight = nn.Parameter(torch.rand(8)[::2])
    return net


@compiled
@pytest.mark.parametrize(
    ("change", "x"),
    [
        (lambda net: net.eval(), channels_last(2, 4, 3, 3)),
        (lambda net: net, torch.rand(2, 4, 3, 3)),
        (lambda net: net.double(), channels_last(2, 4, 3, 3).double()),
        (strided, channels_last(2, 4, 3, 3)),
        (lambda net: Layers(net[0], nn.SiLU()), channels_last(2, 4, 3, 3)),
        (lambda net: Layers(nn.BatchNorm2d(4, affine=False), net[1]), channels_last(2, 4, 3, 3)),
        (lambda net: Layers(nn.BatchNorm2d(4, momentum=None), net[1]), channels_last(2, 4, 3, 3)),
        (
            lambda net: Layers(nn.BatchNorm2d(4, track_running_stats=False), net[1]),
            channels_last(2, 4, 3, 3),
        ),
    ],
)
def test_leaves_to_pytorch_what_it_cannot_do(change, x):
    net = change(Layers(*layers(4)))
    found = net(x)
    assert not is_compiled(found)
    assert torch.equal(found, nn.Sequential(*net)(x))


@compiled
def test_complains_as_pytorch_does():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Layers(*layers(4))(channels_last(1, 4, 1, 1))
    with pytest.raises(RuntimeError, match="running_mean should contain 6 elements"):
        Layers(*layers(4))(channels_last(2, 6, 3, 3))


class Sevens(nn.BatchNorm2d):
    def forward(self, input):  # noqa: A002  (the base class's name)
        return super().forward(input) * 0 + 7


class Eights(nn.LeakyReLU):
    def forward(self, input):  # noqa: A002
        return input * 0 + 8


@compiled
@pytest.mark.parametrize("derived", [Sevens(4), Eights()], ids=["normalisation", "rectifier"])
def test_a_derived_class_keeps_its_own_function(derived):
    net = layers(4)
    net[isinstance(derived, Eights)] = derived
    x = channels_last(2, 4, 3, 3)
    assert torch.equal(Layers(*net)(x), net(x))


@compiled
def test_hooks_are_called():
    plain, x = layers(4), channels_last(2, 4, 3, 3)
    prune.l1_unstructured(plain[0], "weight", 2)
    pruned = Layers(*plain)
    for _ in range(2):  # the hook computes the weight anew each time
        pruned(x).sum().backward()
    assert (pruned[0].weight_orig.grad == 0).sum() == 2


@compiled
def test_statistics_that_are_not_tracked_stay():
    plain, x = layers(4), channels_last(2, 4, 3, 3)
    plain[0].track_running_stats = False
    Layers(*plain)(x)
    assert torch.equal(plain[0].running_mean, torch.zeros(4))
    assert plain[0].num_batches_tracked == 0


@compiled
@pytest.mark.parametrize("name", ["weight", "running_mean"])
def test_values_of_a_wrong_length_are_refused_as_by_pytorch(name):
    net = Layers(*layers(4))
    short = torch.ones(2)
    setattr(net[0], name, nn.Parameter(short) if name == "weight" else short)
    with pytest.raises(RuntimeError, match=f"{name} should|{name} to"):
        net(channels_last(2, 4, 3, 3))


@compiled
def test_one_wild_pixel_costs_no_digits():
    x = channels_last(4, 2, 64, 64)
    x[0, :, 0, 0] = 1000.0  # the first row
    wanted = layers(2).double()(x.double())
    found = Layers(*layers(2))(x)
    assert is_compiled(found)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


@compiled
def test_a_relu_passes_no_infinite_gradient_on():
    net = Layers(*layers(2, nn.ReLU()))
    with torch.no_grad():
        net[0].bias.fill_(-100.0)
    x = channels_last(2, 2, 3, 3).requires_grad_()
    y = net(x)
    assert is_compiled(y)
    y.backward(torch.full_like(y, torch.inf))
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache folder, and nothing loaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fused.load_kernels.cache_clear()
    yield tmp_path / "anogen"
    fused.load_kernels.cache_clear()


@compiled
def test_a_damaged_library_is_compiled_again(fresh):
    assert kernels() is not None
    (library,) = fresh.iterdir()
    library.unlink()  # the one that is loaded must not be written to
    library.write_text("no library")
    fused.load_kernels.cache_clear()
    assert kernels() is not None
    assert fused.why_none() == ""


@compiled
def test_compiles_once(fresh, monkeypatch):
    assert kernels() is not None
    (library,) = fresh.iterdir()
    fused.load_kernels.cache_clear()
    monkeypatch.setattr(fused, "_compile", lambda *_: pytest.fail("compiled again"))
    assert kernels() is not None
    assert list(fresh.iterdir()) == [library]


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("ANOGEN_NO_COMPILER", "1", "ANOGEN_NO_COMPILER is set"),
        ("CXX", "false", "false failed: 1"),
        ("CXX", "no-such -O3", "there is no C++ compiler no-such"),
    ],
)
def test_without_a_compiler_the_layers_are_pytorchs(fresh, monkeypatch, variable, value, why):
    monkeypatch.setenv(variable, value)
    assert kernels() is None
    assert fused.why_none() == why
    assert not fresh.exists() or not list(fresh.iterdir())
    plain, x = layers(4), channels_last(2, 4, 3, 3)
    found = Layers(*copy.deepcopy(plain))(x)
    assert not is_compiled(found)
    assert torch.equal(found, plain(x))


@compiled
def test_a_cache_folder_that_cannot_be_written(fresh):
    fresh.write_text("a file where the folder should be")
    assert kernels() is None
    assert "File exists" in fused.why_none()


@compiled
def test_a_compiler_with_arguments(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "c++ -g0")
    assert kernels() is not None


@compiled
def test_a_user_without_a_home(fresh, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(fused.Path, "home", home)
    assert kernels() is None
    assert "no home folder" in fused.why_none()


@compiled
def test_in_evaluation_mode_the_running_statistics_count():
    torch.manual_seed(0)
    net = Layers(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU())
    plain = nn.Sequential(*net)
    x = torch.rand(6, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    net(x)  # moves the statistics
    net.eval()
    before = net[1].running_mean.clone()
    with torch.no_grad():
        assert torch.allclose(net(2 * x + 1), plain(2 * x + 1), atol=1e-5)
    assert torch.equal(net[1].running_mean, before)
