import pytest
import torch

from anogen import nets
from anogen.errors import UsageError
from anogen.nets.conv import ConvEncoder
from anogen.nets.mlp import MLPDecoder, MLPEncoder


def test_small_and_odd_shapes_get_dense_layers_and_images_convolutions():
    assert isinstance(nets.encoder((1, 1, 2), 3, net="auto"), MLPEncoder)
    assert isinstance(nets.encoder((1, 8, 8), 3, net="auto"), MLPEncoder)
    assert isinstance(nets.encoder((1, 16, 16), 3, net="auto"), ConvEncoder)
    assert isinstance(nets.encoder((1, 16, 16), 3, net="mlp"), MLPEncoder)
    assert isinstance(nets.decoder((1, 8, 8), 3, net="auto"), MLPDecoder)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("options", [{}, {"batch_norm": False, "dropout": 0.5}])
def test_shapes(depth, options):
    encoder = MLPEncoder((2, 3, 4), 5, width=2, depth=depth, **options)
    x = torch.rand(6, 2, 3, 4)
    features = encoder.features(x)
    assert [feature.shape for feature in features] == [(6, 16)] * depth
    assert encoder(x).shape == (6, 5)
    assert (
        MLPDecoder((2, 3, 4), 5, width=2, depth=depth, **options)(torch.rand(6, 5)).shape == x.shape
    )


def test_spectral_norm_bounds_every_layer():
    encoder = MLPEncoder((1, 1, 9), 5, width=2, batch_norm=False, spectral_norm=True)
    for _ in range(30):
        encoder(torch.rand(4, 1, 1, 9))
    weights = [m.weight for m in encoder.modules() if isinstance(m, torch.nn.Linear)]
    assert len(weights) == 3
    assert max(torch.linalg.matrix_norm(w, 2).item() for w in weights) < 1.1


@pytest.mark.parametrize(
    ("net", "shape", "options", "message"),
    [
        ("mpl", (1, 1, 2), {}, "did you mean 'mlp'"),
        ("conv", (1, 8, 8), {}, "8×8 are too small.* net mlp"),
        ("mlp", (1, 1, 2), {"width": 0}, "width must be at least 1"),
        ("mlp", (1, 1, 2), {"activation": "rel"}, "did you mean 'relu'"),
    ],
)
def test_what_cannot_be_built_is_refused(net, shape, options, message):
    with pytest.raises(UsageError, match=message):
        nets.encoder(shape, 3, net=net, **options)


def test_the_shorter_side_decides():
    assert isinstance(nets.encoder((1, 8, 40), 3, net="auto"), MLPEncoder)
    assert isinstance(nets.decoder((1, 40, 8), 3, net="auto"), MLPDecoder)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_there_are_as_many_hidden_layers_as_said(depth):
    assert len(MLPEncoder((1, 2, 2), 3, depth=depth).layers) == depth
    assert len(MLPDecoder((1, 2, 2), 3, depth=depth).layers) == depth
