"""What models learn about damage: with clean images, and without."""

import numpy as np
import pytest
import torch

from anogen import NCPVAE, VAE, VAEGAN, Images, Restorer, Splits, fit
from anogen.models.damage import Damage


def stripes(count: int, seed: int) -> np.ndarray:
    """Grey stripes of random width, place and direction, uint8 `[n, 1, 32, 32]`."""
    rng = np.random.default_rng(seed)
    place = np.arange(32)
    images = np.empty((count, 1, 32, 32), np.uint8)
    for image in images:
        waves = np.sin(place / rng.uniform(2, 5) + rng.uniform(0, 6)) > 0
        image[0] = np.where(waves, 190, 60)[:, None]
        if rng.random() < 0.5:
            image[0] = image[0].T
    return images


@pytest.fixture(scope="module")
def clean() -> Splits:
    return Splits(*(Images(stripes(n, seed), "stripes") for seed, n in enumerate((160, 16, 16))))


SIGMA = 0.2


def noisy(splits: Splits) -> Splits:
    rng = np.random.default_rng(7)

    def damaged(images: Images) -> Images:
        values = images.pixels + 255 * SIGMA * rng.standard_normal(images.pixels.shape)
        return Images(np.clip(np.rint(values), 0, 255).astype(np.uint8), "noisy")

    return Splits(*(damaged(part) for part in (splits.train, splits.validation, splits.test)))


def test_damage_is_a_function_of_the_generator_and_within_its_range():
    x = torch.rand(64, 1, 16, 16)
    damage = Damage("gaussian_noise=0.1..0.4")
    torch.manual_seed(3)
    first, strengths = damage(x)
    torch.manual_seed(3)
    assert torch.equal(damage(x)[0], first)
    assert not torch.equal(damage(x)[0], first)
    assert strengths.min() >= 0.1
    assert strengths.max() <= 0.4
    levels = first * 255
    as_files = ((levels - levels.round()).abs() < 1e-3).flatten(1).all(1)
    assert 16 < as_files.sum() < 48
    spread = (first - x)[~as_files].flatten(1).std(1)  # the others are clipped
    assert spread.tolist() == pytest.approx(strengths[~as_files, 0].tolist(), rel=0.3)
    assert levels[as_files].min() >= 0
    assert levels[as_files].max() <= 255.001


@pytest.mark.parametrize(
    "options",
    [
        {"corruption": f"gaussian_noise={SIGMA}"},
        {"corruption": f"gaussian_noise={SIGMA}", "blind": False},
        {"corruption": f"gaussian_noise={SIGMA}", "learning": "noise_to_noise"},
        {"learning": "recorrupted", "noise": SIGMA},
        {"learning": "noise_to_self"},
    ],
    ids=["clean", "told", "noise_to_noise", "recorrupted", "noise_to_self"],
)
def test_noise_is_taken_out(clean, tmp_path, options):
    data = noisy(clean) if options.get("learning") in ("recorrupted", "noise_to_self") else clean
    torch.manual_seed(0)
    model = Restorer(clean.shape, width=8, levels=2, blocks=1, **options)
    run = fit(model, data, tmp_path / "run", epochs=25, batch_size=16, learning_rate=3e-3)
    x = torch.from_numpy(clean.test.pixels[:]).float() / 255
    given = torch.from_numpy(noisy(clean).test.pixels[:]).float() / 255
    with torch.no_grad():
        found = run.load_model().reconstruct(given)
    before, after = ((y - x).square().mean().item() for y in (given, found))
    assert after < (0.5 if options.get("learning") == "noise_to_self" else 0.25) * before


@pytest.mark.parametrize("kind", [VAE, VAEGAN, NCPVAE])
def test_the_encoder_sees_damage_and_is_judged_by_the_image(kind):
    torch.manual_seed(0)
    model = kind((1, 16, 16), latent=3, width=4, corruption="inversion")
    shown: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    white = torch.ones(4, 1, 16, 16)
    terms = model.eval().losses(white).terms
    assert shown[0][:4].max() == 0
    rebuilt = model.reconstruct(torch.zeros(4, 1, 16, 16))
    expected = (1 - rebuilt).square().sum((1, 2, 3))
    assert terms["sampled_squared_error"].tolist() == pytest.approx(expected.tolist(), rel=0.1)
    assert model.phase(10**6) is None  # made on the processor, it cannot be replayed
