import json

import numpy as np
import pytest
import torch

from anogen import GAN, Splits, StyleGAN, fit
from anogen.errors import UsageError
from anogen.evaluation import features as features_module
from anogen.evaluation.epochs import SampleDistance


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(features_module, "MIN_STEPS", 20)


class Copies(GAN):
    """Gives training images, the more of them grey the worse it is."""

    def __init__(self, images, grey: float) -> None:
        super().__init__(images.shape, 1, width=4)
        self.images, self.grey = images, grey

    def decode(self, z, condition=None):
        rows = torch.arange(len(z)) % len(self.images)
        x = torch.from_numpy(self.images.pixels[rows.numpy()] / 255.0).float()
        return torch.lerp(x, torch.full_like(x, 0.5), self.grey)


def test_better_samples_are_nearer_and_the_same_number_comes_again(digits):
    distance = SampleDistance(digits, torch.device("cpu"))
    values = [distance(Copies(digits.train, grey)) for grey in (0.0, 0.3, 0.9)]
    assert values == sorted(values)
    assert values[2] > 10 * values[0]
    assert distance(Copies(digits.train, 0.3)) == values[1]


def test_with_few_validation_images_the_last_epoch_is_taken(digits, tmp_path):
    few = Splits(digits.train, digits.validation[:9], digits.test)
    run = fit(GAN(digits.shape, 4, width=4), few, tmp_path / "run", epochs=1, batch_size=100)
    assert run.chosen(None) == "last"
    with pytest.raises(UsageError, match="needs 10 validation images or more, digits has 9"):
        fit(GAN(digits.shape, 4, width=4), few, tmp_path / "no", monitor="frechet_distance")


def test_the_net_that_judges_is_recorded_and_has_not_seen_the_test_images(digits, tmp_path):
    other = Splits(digits.train, digits.validation, digits.validation)
    runs = [
        fit(GAN(digits.shape, 4, width=4), data, tmp_path / str(i), epochs=1, batch_size=100)
        for i, data in enumerate((digits, other))
    ]
    names = [run.environment["feature_extractor"] for run in runs]
    assert names[0] == names[1]
    assert names[0].startswith("digits-classifier-")


@pytest.mark.parametrize("kind", [GAN, StyleGAN])
def test_the_best_epoch_of_a_game_is_that_with_the_nearest_samples(digits, tmp_path, kind):
    torch.manual_seed(0)
    model = kind(digits.shape, latent=4, width=4)
    run = fit(model, digits, tmp_path / "run", epochs=4, batch_size=100, learning_rate=0.01)
    distances = [row["validation_frechet_distance"] for row in run.metrics]
    assert run.epoch_of() == int(np.argmin(distances)) + 1
    again = SampleDistance(digits, torch.device("cpu"))(run.load_model())
    assert again == pytest.approx(min(distances), rel=1e-3)
    rows = (run.path / "metrics.jsonl").read_text().splitlines()
    assert "validation_frechet_distance" in json.loads(rows[0])
