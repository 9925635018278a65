"""The net that restores: how far it sees, and that tiles change nothing."""

import pytest
import torch

from anogen import Restorer
from anogen.errors import UsageError
from anogen.models.restorer import noise_level
from anogen.nets.restoration import RestorationNet
from anogen.restoration.tiles import restored


def lively(net: torch.nn.Module) -> torch.nn.Module:
    """The net with weights of which all have a part in the result."""
    torch.manual_seed(0)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=(1 / weight[0].numel()) ** 0.5)
    *_, last = net.parameters()
    torch.nn.init.normal_(last, std=0.02 / last[0].numel() ** 0.5)
    return net.eval()


@pytest.mark.parametrize(("levels", "blocks"), [(1, 1), (2, 1), (3, 1), (2, 3)])
def test_a_pixel_reaches_no_further_than_the_net_says(levels, blocks):
    net = lively(RestorationNet(1, 2, levels, blocks))
    size = 2 * (net.reach // net.step + 2) * net.step
    x = torch.zeros(1, 1, 8, size).uniform_().requires_grad_()
    place = size // 2
    net(x)[0, 0, 4, place].backward()
    touched = x.grad[0, 0].abs().sum(0).nonzero()[:, 0]
    assert place - net.reach <= touched.min() < place < touched.max() <= place + net.reach
    assert touched.max() - touched.min() > net.reach / 3  # it is no idle bound


@pytest.mark.parametrize(
    ("shape", "learning", "levels"),
    [
        ((1, 1, 200, 330), "clean", 3),
        ((2, 3, 129, 257), "clean", 3),
        ((1, 1, 302, 10), "clean", 1),
        ((1, 1, 27, 241), "clean", 2),
        ((1, 1, 70, 205), "noise_to_self", 1),
        ((1, 1, 30, 203), "noise_to_self", 3),
    ],
)
def test_tiles_leave_no_seam(shape, learning, levels):
    model = Restorer((shape[1], 32, 32), width=4, blocks=1, levels=levels, learning=learning)
    lively(model.net)
    x = torch.rand(shape)
    whole = restored(model, x)
    for tile in (96, 192):
        assert torch.allclose(restored(model, x, tile=tile), whole, atol=2e-5)


def test_images_are_restored_alike_in_any_company():
    model = Restorer((1, 32, 32), width=4, blocks=1)
    lively(model.net)
    x = torch.rand(5, 1, 40, 40)
    alone = torch.cat([restored(model, one) for one in x.split(1)])
    assert torch.allclose(restored(model, x), alone, atol=1e-6)


def test_without_biases_contrast_scales_through():
    net = lively(RestorationNet(1, 4))
    x = torch.rand(1, 1, 32, 32)
    assert torch.allclose(net(3 * x), 3 * net(x), atol=1e-4)


def test_at_first_nothing_is_changed():
    x = torch.rand(2, 1, 30, 30)
    assert torch.allclose(RestorationNet(1, 8)(x), x, atol=0.05)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3])
def test_noise_is_estimated(sigma):
    slope = torch.linspace(0, 1, 128).expand(3, 1, 128, 128)
    noisy = slope + sigma * torch.randn(slope.shape, generator=torch.Generator().manual_seed(0))
    assert noise_level(noisy).tolist() == pytest.approx([sigma] * 3, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning": "both"}, "unknown learning"),
        ({"learning": "recorrupted"}, "noise, of the training images"),
        ({"noise": 0.1}, "noise, of the training images"),
        ({"blind": False, "corruption": "blur"}, "blind false is for"),
        ({"patch": 4}, "patch must be at least"),
        ({"levels": 9}, "levels must lie between"),
        ({"width": 0}, "width must be at least 1"),
        ({"corruption": "rain"}, "unknown transformation"),
        ({"corruption": "blur=3..1"}, "the least one first"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Restorer((1, 32, 32), **options)
