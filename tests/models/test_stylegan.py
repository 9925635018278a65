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


def test_the_path_penalty_is_equation_4_of_karras_2020():
    """Against the Jacobian of each image, transcribed on its own."""
    gan = model().eval()
    with torch.no_grad():
        for to_image in gan.synthesis.to_image:
            to_image.weight.mul_(0.05)  # grey images, which no bound clips
    gan.mean_path.fill_(0.002)
    torch.manual_seed(7)
    penalty = gan._path_penalty(3, X.device, None)
    torch.manual_seed(7)
    styles = gan.styles(torch.randn(3, 4)).detach()
    lengths = []
    for style, direction in zip(styles, torch.randn(3, *SHAPE), strict=True):
        jacobian = torch.autograd.functional.jacobian(gan.synthesise, style[None])[0]
        product = torch.einsum("chw,chwnls->ls", direction, jacobian) / SHAPE[1]  # by √pixels
        lengths.append(product.square().sum(1).mean().sqrt())  # over the layers, each with a style
    assert_close(penalty, (torch.stack(lengths) - 0.002).square().mean(), rtol=1e-3, atol=0)


def test_a_lazy_path_penalty_counts_as_often_as_it_is_left_out(monkeypatch):
    gan = model(r1=0.0, r2=0.0, path_length=0.7, path_length_every=6)
    monkeypatch.setattr(gan, "_path_penalty", lambda *_: torch.tensor(3.0))
    with_it, without = (losses(gan, step).players["generator"] for step in (6, 7))
    assert_close(with_it - without, torch.tensor(6 * 0.7 * 3.0))


def test_images_are_bounded_in_training_too():
    """Exact black must be in reach, or the discriminator has an easy cue on images of digits."""
    gan = model()
    with torch.no_grad():
        for to_image in gan.synthesis.to_image:
            to_image.weight.mul_(30)
    styles = gan.styles(torch.randn(20, 4))
    for each in (gan.train(), gan.eval()):
        images = each.synthesise(styles)
        assert images.min() >= 0
        assert images.max() <= 1
        assert images.min() < 1e-3
        assert images.max() > 1 - 1e-3
    nearly = (images > 1 - 1e-3) & (images < 1)
    assert nearly.any()  # and there is a way back from there
    (gradient,) = torch.autograd.grad(images[nearly].sum(), gan.synthesis.image_bias)
    assert gradient.item() > 0


def test_new_images_have_new_noise_and_decoded_ones_always_the_same():
    gan = model().eval()
    for layer in gan.synthesis.layers:
        torch.nn.init.ones_(layer.noise_strength)
    z = torch.randn(3, 4)
    assert torch.equal(gan.decode(z), gan.decode(z))
    same = gan.decode_sample(z, torch.Generator().manual_seed(0))
    assert torch.equal(same, gan.decode_sample(z, torch.Generator().manual_seed(0)))
    assert not torch.equal(same, gan.decode_sample(z, torch.Generator().manual_seed(1)))
    first, again = (gan.sample(3, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("every", [2, 3])
def test_the_generator_takes_every_few_steps_of_the_discriminator(every):
    gan = model(critic_steps=every, path_length_every=2, penalty_every=4)
    taken = [step for step in range(12) if "generator" in losses(gan, step).players]
    assert taken == list(range(every - 1, 12, every))
    paths = [step for step in range(24) if gan._path_is_due(step)]
    assert paths == list(range(every - 1, 24, 2 * every))
    assert "generator" in losses(gan, None).players


def test_mixing_takes_the_last_styles_from_another_latent():
    gan = model(mixing=1.0)
    torch.manual_seed(1)
    styles = gan._mixed(200, X.device, None)
    same = (styles == styles[:, :1]).all(2)
    assert same[:, 0].all()
    assert not same[:, -1].any()
    assert {int(row.sum()) for row in same} == set(range(1, styles.shape[1]))
    gan.mixing = 0.0
    pairs = [gan._mixed(5, X.device, None)[:, 0] for _ in range(2)]
    assert not torch.equal(*pairs)  # new latents each time
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
        ({"style": 0}, "style must be at least 1"),
        ({"mapping_layers": 10**6}, "mapping_layers must be at most 100"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        model(**options)
