import pytest
import torch
from torch.testing import assert_close

from anogen import StyleGAN
from anogen.errors import UsageError

SHAPE = (1, 16, 16)
X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))


def model(**arguments) -> StyleGAN:
    torch.manual_seed(0)
    return StyleGAN(SHAPE, **({"latent": 4, "style": 8, "width": 4} | arguments))


def losses(gan: StyleGAN, step: int | None = 1):
    torch.manual_seed(5)
    return gan.losses(X, step)


def test_descending_the_generator_s_loss_raises_the_discriminator_s_error():
    gan = model(r1=0.0, path_length=0.0)
    before = losses(gan).players
    parameters = [*gan.mapping.parameters(), *gan.synthesis.parameters()]
    gradients = torch.autograd.grad(before["generator"], parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= 0.01 * gradient / gradient.norm().clamp(min=1e-8)
    after = losses(gan).players
    assert after["generator"] < before["generator"]
    assert after["discriminator"] > before["discriminator"]


def test_each_penalty_comes_when_it_is_due_and_touches_its_own_player():
    options = {"penalty_every": 4, "path_length_every": 6}
    plain = losses(model(r1=0.0, path_length=0.0, **options)).players
    for step, changed in ((1, set()), (4, {"discriminator"}), (6, {"generator"}),
                          (12, {"discriminator", "generator"}), (None, set())):  # fmt: skip
        found = losses(model(**options), step).players
        assert {name for name in found if not torch.equal(found[name], plain[name])} == changed


def test_the_path_penalty_measures_the_jacobian():
    """Lengths estimated from random directions agree with the Jacobian itself."""
    gan = model(mixing=0.0).eval()
    styles = gan.styles(torch.randn(1, 4)).detach()
    gan.train()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for module in gan.modules():
            if hasattr(module, "noise_strength"):
                torch.nn.init.zeros_(module.noise_strength)
        jacobian = torch.autograd.functional.jacobian(gan.synthesise, styles)
    whole = jacobian.flatten(0, 3).flatten(1)
    expected = whole.square().sum() / styles.shape[1] / X[0].numel()
    directions = torch.randn(2000, X[0].numel()) / X[0].numel() ** 0.5
    products = (directions @ whole).unflatten(1, styles.shape[1:])
    assert_close(products.square().sum(2).mean(1).mean(), expected, rtol=0.1, atol=0)
    gan.mean_path.fill_(2.0)
    gan.eval()
    torch.manual_seed(0)
    penalty = gan._path_penalty(400, X.device, None)
    lengths = (gan.mean_path - penalty.sqrt(), gan.mean_path + penalty.sqrt())
    assert penalty.item() >= 0
    assert lengths[0] < 2.0 < lengths[1]


def test_mixing_takes_the_last_styles_from_another_latent():
    gan = model(mixing=1.0)
    torch.manual_seed(1)
    styles = gan._mixed(200, X.device, None)
    same = (styles == styles[:, :1]).all(2)
    assert same[:, 0].all()
    assert not same[:, -1].any()
    assert {int(row.sum()) for row in same} == set(range(1, styles.shape[1]))
    gan.mixing = 0.0
    assert (gan._mixed(5, X.device, None)[:, 0] == gan._mixed(5, X.device, None)[:, 0]).shape
    alone = gan._mixed(5, X.device, None)
    assert (alone == alone[:, :1]).all()


def test_truncation_pulls_towards_the_mean():
    gan = model().eval()
    gan.mean_style.normal_()
    z = torch.randn(5, 4)
    free = gan.decode(z)
    gan.truncation = 0.0
    mean = gan.decode(z)
    assert_close(mean, mean[:1].expand_as(mean))
    gan.truncation = 0.5
    styles = gan.styles(z)
    assert_close(gan.truncate(styles, 0.5), 0.5 * (styles + gan.mean_style))
    assert not torch.equal(gan.decode(z), free)


def test_the_mean_style_follows_training_only():
    gan = model()
    losses(gan)
    moved = gan.mean_style.clone()
    assert moved.abs().sum() > 0
    gan.eval()
    losses(gan, None)
    assert torch.equal(gan.mean_style, moved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncation": 1.5}, "truncation must lie in"),
        ({"mixing": -0.1}, "mixing and truncation"),
        ({"path_length": -1.0}, "path_length must not be negative"),
        ({"mapping_layers": 0}, "at least 1"),
        ({"loss": "hing"}, "did you mean 'hinge'"),
        ({"style": 0}, "vector length must be at least 1"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        model(**options)
