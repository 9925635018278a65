import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from anogen.errors import UsageError
from anogen.nets.conv import ConvDecoder, ConvEncoder, smooth_upsampling
from anogen.nets.fold import folded
from anogen.nets.options import COARSE, sizes


def convolutions(net: nn.Module) -> list[tuple[int, int, int]]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return [
        (m.in_channels, m.out_channels, m.stride[0]) for m in net.modules() if isinstance(m, kinds)
    ]


def test_the_paper_s_nets():
    encoder, decoder = ConvEncoder((1, 28, 28), 4), ConvDecoder((1, 28, 28), 2)
    assert convolutions(encoder) == [(1, 32, 1), (32, 64, 2), (64, 64, 2), (64, 64, 1)]
    assert encoder.head.in_features == 3136
    assert convolutions(decoder) == [(64, 64, 1), (64, 64, 2), (64, 32, 2), (32, 1, 1)]
    assert decoder.stem.out_features == 3136
    assert [tuple(f.shape[2:]) for f in encoder.features(torch.zeros(1, 1, 28, 28))] == [
        (28, 28), (14, 14), (7, 7), (7, 7)]  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 19), (1, 28, 28), (4, 31, 64), (3, 50, 33)])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_any_size_and_channel_count_comes_back(shape, depth):
    encoder = ConvEncoder(shape, 6, width=4, depth=depth)
    decoder = ConvDecoder(shape, 3, width=4, depth=depth)
    assert encoder(torch.rand(2, *shape)).shape == (2, 6)
    assert decoder(torch.rand(2, 3)).shape == (2, *shape)


@pytest.mark.parametrize("size", [16, 28, 32, 48, 64, 96, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_default_nets_stay_small_as_images_grow(size, channels):
    """No dense layer meets the whole image, and the work per pixel does not grow."""
    shape = (channels, size, size)
    encoder, decoder = ConvEncoder(shape, 32), ConvDecoder(shape, 16)
    seed = decoder.seed_shape
    assert encoder.head.in_features == math.prod(seed)
    assert 4 <= seed[1] <= COARSE
    weights = sum(p.numel() for net in (encoder, decoder) for p in net.parameters())
    assert weights < 5_000_000
    assert decoder(torch.rand(2, 16)).shape == (2, *shape)
    assert encoder(torch.rand(2, *shape)).shape == (2, 32)


def test_widths_are_taken_as_given():
    encoder = ConvEncoder((1, 16, 16), 2, widths=[4, 6, 9])
    assert convolutions(encoder) == [(1, 4, 1), (4, 6, 2), (6, 9, 2), (9, 9, 1)]
    slower = ConvEncoder((1, 32, 32), 2, width=4, growth=1.5, depth=3)
    assert [c[1] for c in convolutions(slower)] == [4, 6, 9, 9, 9]


@pytest.mark.parametrize("upsampling", ["transposed", "smooth"])
@pytest.mark.parametrize("shape", [(3, 128, 128), (1, 67, 80), (3, 16, 17)])
def test_nets_without_a_layer_at_full_size(shape, upsampling):
    options = {"width": 4, "full_size": False, "upsampling": upsampling}
    encoder, decoder = ConvEncoder(shape, 5, **options), ConvDecoder(shape, 3, **options)
    assert convolutions(encoder)[0][2] == 2
    assert encoder(torch.rand(2, *shape)).shape == (2, 5)
    assert decoder(torch.rand(2, 3)).shape == (2, *shape)
    assert isinstance(decoder.layers[0], nn.Conv2d)
    assert not isinstance(decoder.layers[-2], nn.BatchNorm2d)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 17, 30), (3, 29, 33)])
def test_smooth_upsampling_folds_as_any_other(shape):
    torch.manual_seed(0)
    decoder = ConvDecoder(shape, 3, width=4, upsampling="smooth").eval()
    z = torch.randn(2, 3)
    assert decoder(z).shape == (2, *shape)
    assert_close(folded(decoder)(z), decoder(z), rtol=1e-4, atol=1e-5)
    assert nn.BatchNorm2d not in {type(module) for module in folded(decoder).modules()}


def test_smooth_upsampling_begins_as_a_resize_before_a_convolution():
    x = torch.rand(2, 3, 5, 7)
    torch.manual_seed(0)
    layer = smooth_upsampling(3, 4)
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 4, 3, padding=1)
    assert_close(layer(x), plain(F.interpolate(x, scale_factor=2)), rtol=1e-4, atol=1e-5)


def test_a_constant_stays_constant_where_sizes_are_doubled():
    """What a transposed convolution of 3×3 cannot: its kernel covers pixels unevenly."""
    x = torch.ones(1, 2, 6, 6)
    torch.manual_seed(0)
    smooth = smooth_upsampling(2, 1)(x)[0, 0, 2:-2, 2:-2]
    transposed = nn.ConvTranspose2d(2, 1, 3, 2, 1, 1)(x)[0, 0, 2:-2, 2:-2]
    assert smooth.std() < 1e-6
    assert transposed.std() > 1e-2


@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "silu", "elu"])
def test_options_are_built(activation):
    options = {"batch_norm": False, "activation": activation, "dropout": 0.3}
    for net in (ConvEncoder((1, 16, 16), 2, **options), ConvDecoder((1, 16, 16), 2, **options)):
        kinds = {type(module) for module in net.modules()}
        assert nn.BatchNorm2d not in kinds
        assert nn.Dropout2d in kinds
    plain = ConvEncoder((1, 16, 16), 2)
    assert nn.Dropout2d not in {type(module) for module in plain.modules()}


@pytest.mark.parametrize("size", range(8, 40, 5))
def test_halving_rounds_up(size):
    assert sizes((1, size, size), 1)[1] == (-(-size // 2), -(-size // 2))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 15, 28), {}, "15×28 are too small"),
        ((1, 28, 28), {"depth": 5}, "depth 5 halves"),
        ((1, 28, 28), {"depth": 0}, "depth must be at least 1"),
        ((1, 28, 28), {"width": 0}, "width must be at least 1"),
        ((1, 28, 28), {"growth": 0.5}, "growth must be at least 1"),
        ((1, 28, 28), {"widths": [8, 8], "depth": 1}, "takes the place of width and depth"),
        ((1, 28, 28), {"widths": [8, 0.5]}, "give whole numbers"),
        ((1, 28, 28), {"widths": "8"}, "list of numbers"),
        ((1, 28, 28), {"upsampling": "smoth"}, "did you mean 'smooth'"),
        ((1, 28, 28), {"widht": 8}, "did you mean 'width'"),
        ((1, 28, 28), {"widths": b"ab"}, "list of numbers"),
        ((1, 28, 28), {"widths": range(4, 6)}, "list of numbers"),
        ((1, 28, 28), {"full_size": "false"}, "full_size must be true or false"),
        ((1, 28, 28), {"activation": []}, "unknown activation"),
        ((1, 28, 28), {"net": {}}, "unknown net"),
        ((1, 28, 28), {"growth": 10**400}, "growth must be at most"),
        ((1, 28, 28), {"dropout": 1.0}, "dropout must lie"),
        ((1, 28, 28), {"activation": "leaky"}, "did you mean 'leaky_relu'"),
    ],
)
def test_what_cannot_be_built_is_refused(shape, options, message):
    with pytest.raises(UsageError, match=message):
        ConvEncoder(shape, 2, **options)
    with pytest.raises(UsageError, match=message):
        ConvDecoder(shape, 2, **options)


def test_dropout_drops_whole_channels():
    torch.manual_seed(0)
    net = ConvEncoder((1, 16, 16), 2, width=16, dropout=0.5, batch_norm=False, activation="silu")
    features = net.features(torch.rand(4, 1, 16, 16))[0].flatten(2)
    empty = (features == 0).all(2)
    assert 0.2 < empty.float().mean() < 0.8
    assert not (features == 0).any(2)[~empty].any()
