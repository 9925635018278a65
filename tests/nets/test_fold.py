"""Folded normalisation: the same function, in our own nets alone."""

import copy

import pytest
import torch
from torch import nn

from anogen import nets
from anogen.nets import fold
from anogen.nets.fold import folded, in_bfloat16


@pytest.mark.parametrize("net", ["conv", "mlp"])
def test_folded_nets_compute_the_same(net):
    torch.manual_seed(0)
    encoder = nets.encoder((1, 16, 16), 3, net=net, width=4)
    decoder = nets.decoder((1, 16, 16), 3, net=net, width=4)
    model = nn.ModuleList([encoder, decoder])
    x = torch.rand(20, 1, 16, 16)
    for _ in range(3):  # statistics other than those of the start
        decoder(encoder(x))
    model.eval()
    before = copy.deepcopy(model.state_dict())
    lighter = folded(model)
    kinds = {type(module) for module in lighter.modules()}
    assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d}
    with torch.no_grad():
        for ours, theirs in zip(encoder.features(x), lighter[0].features(x), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)
        z = encoder(x)
        assert torch.allclose(decoder(z), lighter[1](z), atol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_modules_of_others_stay_as_they_are():
    class Odd(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x).relu())

    torch.manual_seed(0)
    model = Odd(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model(torch.rand(30, 4))
    x = torch.rand(5, 4)
    assert torch.equal(folded(model)(x), model.eval()(x))
    computed = nn.Linear(2, 2)
    computed.other = computed.weight * 2  # what deepcopy refuses
    assert folded(computed) is computed


def test_bfloat16_stays_within_convolutions():
    torch.manual_seed(0)
    model = nn.ModuleList(
        [
            nets.encoder((1, 16, 16), 3, net="conv", width=4),
            nets.decoder((1, 16, 16), 3, net="conv", width=4),
        ]
    ).eval()
    light, x = in_bfloat16(model), torch.rand(20, 1, 16, 16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.dtype for p in light.parameters()} == {torch.float32, torch.bfloat16}
    with torch.no_grad():
        z = model[0](x)
        assert light[0](x).dtype == light[1](z).dtype == torch.float32
        assert torch.allclose(light[0](x), z, atol=0.02)
        assert not torch.equal(light[0](x), z)
        assert torch.allclose(light[1](z), model[1](z), atol=0.02)
    dense = nets.encoder((1, 16, 16), 3, net="mlp")
    assert in_bfloat16(dense) is dense


def joins_here() -> bool:
    """Whether this processor and this PyTorch compute a joined convolution in bfloat16 rightly."""
    layer = nn.Conv2d(2, 2, 3).to(torch.bfloat16)
    joined = fold._Rectified(layer, 0.01)
    with torch.no_grad():
        return fold._agree(joined, nn.Sequential(layer, nn.LeakyReLU(0.01)))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_bfloat16_joins_convolutions_with_their_rectifiers(batch_norm, monkeypatch):
    if not joins_here():
        pytest.skip("this processor has no joined convolution in bfloat16")
    torch.manual_seed(0)
    net = nets.decoder((1, 17, 20), 3, net="conv", width=4, batch_norm=batch_norm)
    net = folded(net)
    joined, z = in_bfloat16(net), torch.randn(20, 3)
    assert not any(isinstance(module, nn.LeakyReLU) for module in joined.modules())
    monkeypatch.setattr(fold, "_agree", lambda *_: False)
    apart = in_bfloat16(net)
    assert sum(isinstance(module, nn.LeakyReLU) for module in apart.modules()) == 3
    with torch.no_grad():
        assert torch.allclose(joined(z), apart(z), atol=0.02)


def test_what_this_pytorch_lacks_is_not_joined(monkeypatch):
    def missing(*_):
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute")

    net = folded(nets.decoder((1, 16, 16), 3, net="conv", width=4))
    monkeypatch.setattr(fold._Rectified, "forward", missing)
    with torch.no_grad():
        assert in_bfloat16(net)(torch.randn(2, 3)).shape == (2, 1, 16, 16)


def test_weights_that_are_computed_are_not_folded():
    """Spectral normalisation computes them anew, and would undo what was folded in."""
    torch.manual_seed(0)
    net = nets.encoder((1, 16, 16), 3, net="conv", width=4, spectral_norm=True)
    x = torch.rand(20, 1, 16, 16)
    for _ in range(3):
        net(x)
    net.eval()
    with torch.no_grad():
        assert torch.allclose(folded(net)(x), net(x), atol=1e-5)
