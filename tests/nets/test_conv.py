import pytest
import torch
from torch import nn

from anogen.errors import UsageError
from anogen.nets.conv import ConvDecoder, ConvEncoder, sizes


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
