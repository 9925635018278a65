import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from anogen.nets.style import (
    EqualisedConv,
    EqualisedLinear,
    LowPass,
    MappingNetwork,
    ModulatedConv,
    StyleDiscriminator,
    StyledLayer,
    SynthesisNetwork,
    doubled,
)


@pytest.mark.parametrize("demodulate", [True, False])
def test_a_modulated_convolution_is_one_with_weights_scaled_per_image(demodulate):
    """Against equations 1 and 3 of Karras et al. 2020, a kernel for every image."""
    torch.manual_seed(0)
    conv = ModulatedConv(3, 5, 3, 4, demodulate)
    x, style = torch.randn(2, 3, 7, 7), torch.randn(2, 4)
    expected = []
    for image, scale in zip(x, conv.affine(style), strict=True):
        weight = conv.weight * conv.scale * scale[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected.append(F.conv2d(image[None], weight, padding=1))
    assert_close(conv(x, style), torch.cat(expected))


def test_demodulation_keeps_the_size_of_signals():
    torch.manual_seed(0)
    conv = ModulatedConv(64, 64, 3, 8)
    small, large = (conv(torch.randn(4, 64, 8, 8) * size, torch.randn(4, 8)) for size in (1, 1))
    with torch.no_grad():
        conv.affine.weight *= 100
    scaled = conv(torch.randn(4, 64, 8, 8), torch.randn(4, 8))
    assert small.std().item() == pytest.approx(1, abs=0.3)
    assert scaled.std().item() == pytest.approx(large.std().item(), rel=0.3)


def test_noise_is_fixed_in_evaluation_mode_and_scaled_by_its_strength():
    torch.manual_seed(0)
    layer = StyledLayer(3, 4, 5, (6, 6))
    x, style = torch.randn(2, 3, 6, 6), torch.randn(2, 5)
    assert torch.equal(layer(x, style), layer(x, style))
    torch.nn.init.ones_(layer.noise_strength)
    assert not torch.equal(layer(x, style), layer(x, style))
    layer.eval()
    assert torch.equal(layer(x, style), layer(x, style))


def test_the_mapping_ignores_the_length_of_a_latent():
    torch.manual_seed(0)
    mapping = MappingNetwork(4, 8)
    z = torch.randn(3, 4)
    assert_close(mapping(z), mapping(10 * z))


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_equalised_layers_move_by_their_rate(rate):
    """One Adam step changes what the layer uses by the learning rate times its own rate."""
    torch.manual_seed(0)
    layer = EqualisedLinear(16, 3, bias=2.0, rate=rate)
    assert_close(layer(torch.zeros(1, 16)), torch.full((1, 3), 2.0))
    before = (layer.weight * layer.scale).detach()
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    layer(torch.ones(2, 16)).sum().backward()
    optimizer.step()
    moved = (layer.weight * layer.scale).detach() - before
    expected = torch.full_like(moved, 1e-2 * rate / math.sqrt(16))
    assert_close(moved.abs(), expected, rtol=1e-2, atol=0)
    assert before.std().item() == pytest.approx(1 / math.sqrt(16), rel=0.3)


@pytest.mark.parametrize("size", [(8, 8), (7, 8), (9, 5)])
def test_the_low_pass_filter_is_the_published_one(size):
    """Against a transcription: [1, 3, 3, 1] along both sides, then every second value."""
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    height, width = ((side + 1) // 2 for side in size)
    padded = F.pad(x, (1, 4, 1, 4))
    expected = torch.zeros(2, 3, height, width)
    for i in range(height):
        for j in range(width):
            window = padded[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
            expected[:, :, i, j] = torch.einsum("bcij,i,j->bc", window, line, line)
    assert_close(LowPass(2)(x), expected)
    whole = EqualisedConv(3, 4, halve=True)(x)
    assert whole.shape == (2, 4, height, width)


def test_halving_after_the_filter_hides_a_chess_board():
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    halved = LowPass(2)(board[None, None])
    assert halved[:, :, 1:-1, 1:-1].abs().max() < 1e-6
    assert board[::2, ::2].abs().min() == 1  # what is there without the filter


def test_doubling_is_the_same_filter_between_zeros():
    x = torch.randn(1, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    spread = torch.zeros(1, 1, 10, 12)
    spread[:, :, ::2, ::2] = x
    kernel = LowPass().kernel[None, None] * 4
    expected = F.conv2d(F.pad(spread, (2, 1, 2, 1)), kernel)
    assert_close(doubled(x, (10, 12))[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])
    assert_close(doubled(x, (9, 12)), doubled(x, (10, 12))[:, :, :9])
    assert doubled(x, (5, 6)) is x


def test_the_discriminator_sees_variety_in_training_and_each_image_alone_afterwards():
    torch.manual_seed(0)
    judge = StyleDiscriminator((1, 16, 16), width=4)
    x = torch.randn(8, 1, 16, 16)
    same = x[:1].expand_as(x)
    assert not torch.allclose(judge(x)[0], judge(same)[0])
    assert 0 < judge.statistic < 1
    learnt = judge.statistic.clone()
    judge.eval()
    assert_close(judge(x)[:2], judge(x[:2]))
    assert torch.equal(judge.statistic, learnt)


def mean_square(x):
    return x.square().mean().item()


EXPECTED = (1 + 0.2**2) / 2 * 2
"""Mean square of √2 · leaky_relu(z) with slope 0.2, of a standard normal z."""


def test_every_layer_keeps_the_size_of_its_signal():
    """With unit weights √2 makes up for the half that a leaky ReLU takes (He et al. 2015)."""
    torch.manual_seed(0)
    conv = EqualisedConv(64, 64)
    inner = conv(torch.randn(8, 64, 12, 12))[:, :, 1:-1, 1:-1]
    assert mean_square(inner) == pytest.approx(EXPECTED, rel=0.1)
    styled = StyledLayer(64, 64, 16, (12, 12))
    torch.nn.init.zeros_(styled.conv.affine.weight)  # a style of ones
    inner = styled(torch.randn(8, 64, 12, 12), torch.randn(8, 16))[:, :, 1:-1, 1:-1]
    assert mean_square(inner) == pytest.approx(EXPECTED, rel=0.1)
    mapping = MappingNetwork(256, 256, layers=1)
    assert mean_square(mapping(torch.randn(50, 256))) == pytest.approx(EXPECTED, rel=0.1)


def test_an_equalised_convolution_is_one_with_scaled_weights():
    torch.manual_seed(0)
    conv = EqualisedConv(3, 5)
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 3, 9, 9)
    weight = conv.weight * math.sqrt(2 / (3 * 3 * 3))
    expected = F.leaky_relu(F.conv2d(x, weight, conv.bias, padding=1), 0.2)
    assert_close(conv(x), expected)
    assert conv.weight.std().item() == pytest.approx(1, rel=0.3)


def test_every_size_contributes_an_image_of_its_own():
    """The output is the sum of what each size contributes alone: output skips."""
    torch.manual_seed(0)
    net = SynthesisNetwork((2, 20, 24), style=8, width=4, depth=3).eval()
    styles = torch.randn(3, net.layers_count, 8)
    whole = net(styles)
    alone = []
    weights = [layer.weight.detach().clone() for layer in net.to_image]
    for kept in range(4):
        for index, layer in enumerate(net.to_image):
            layer.weight.data = weights[index] * (index == kept)
        alone.append(net(styles))
        assert alone[-1].abs().max() > 1e-3
    assert_close(sum(alone), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("count", "size"), [(8, 4), (9, 3), (6, 3), (10, 2), (7, 7)])
def test_the_minibatch_statistic_is_the_spread_over_groups_of_images(count, size):
    judge = StyleDiscriminator((1, 16, 16), width=4)
    features = torch.randn(count, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    groups = count // size
    expected = torch.stack([
        features[index % groups :: groups].std(0, correction=0).mean() for index in range(count)
    ])  # fmt: skip
    assert_close(judge._variety(features), expected, rtol=1e-4, atol=0)
    assert_close(judge.statistic, 0.01 * expected.mean())
    same = features[:1].expand_as(features)  # varied over pixels, not over the batch
    assert judge._variety(same)[0].item() == pytest.approx(1e-4, rel=1e-3)  # the root of 1e-8


def test_a_condition_is_as_loud_as_the_latent():
    """Its vector is embedded and normalised apart, so that neither drowns the other."""
    torch.manual_seed(0)
    mapping = MappingNetwork(16, 8, condition=3)
    z, classes = torch.randn(5, 16), torch.eye(3)[torch.tensor([0, 1, 2, 0, 1])]
    heard = []
    mapping.layers[0].register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    styles = mapping(z, classes)
    halves = heard[0].unflatten(1, (2, 16)).square().mean(2)
    assert_close(halves, torch.ones(5, 2), rtol=1e-3, atol=0)
    assert not torch.allclose(mapping(z, classes.roll(1, 0)), styles)


def test_noise_can_be_given():
    torch.manual_seed(0)
    net = SynthesisNetwork((1, 16, 16), style=8, width=4).eval()
    for layer in net.layers:
        torch.nn.init.ones_(layer.noise_strength)
    styles = torch.randn(2, net.layers_count, 8)
    noise = [torch.randn(2, 1, *size) for size in net.noise_sizes]
    assert len(noise) == net.layers_count
    assert not torch.allclose(net(styles, noise), net(styles))
    fixed = [layer.noise for layer in net.layers]
    assert_close(net(styles, fixed), net(styles))
