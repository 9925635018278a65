"""Settings as a value: what they accept, and that nothing else states them."""

import pytest
import yaml

from anogen import TrainingSettings, fit
from anogen.errors import UsageError


def test_settings_survive_yaml():
    settings = TrainingSettings(learning_rate={"a": 1e-3, "b": 2e-3}, betas=(0.5, 0.9))
    again = yaml.safe_load(yaml.safe_dump(settings.as_dict()))
    assert TrainingSettings(**again) == settings


def test_single_settings_win_over_the_others():
    base = TrainingSettings(epochs=3, seed=5)
    assert TrainingSettings.of(base, {"epochs": 4}) == TrainingSettings(epochs=4, seed=5)
    assert TrainingSettings.of(None, {}) == TrainingSettings()


def test_a_setting_that_is_not_there_is_refused(noise, vae, tmp_path):
    with pytest.raises(TypeError, match="no setting 'epoch'; did you mean 'epochs'"):
        fit(vae(noise.shape), noise, tmp_path / "run", epoch=3)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "half"}, "precision"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"betas": 0.9}, "two numbers"),
        ({"betas": (0.9, 1.0)}, "two numbers"),
        ({"learning_rate": {"vae": 0}}, "learning_rate must be positive"),
        ({"patience": 0}, "patience must be positive"),
        ({"epochs": "3"}, "epochs"),
        ({"ema_decay": 1.0}, "between 0 and 1"),
        ({"seed": -1}, "seed"),
        ({"epochs": 10**400}, "epochs must be at most"),
        ({"learning_rate": 10**400}, "learning_rate must be at most"),
        ({"checkpoint_every_s": None}, "checkpoint_every_s must be a finite number"),
        ({"epochs": None}, "epochs must be a whole number"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"tensorboard": "no"}, "tensorboard must be true or false"),
        ({"cuda_graphs": 1}, "cuda_graphs must be true or false"),
        ({"monitor": ""}, "name of a metric"),
        ({"learning_rate": {}}, "one for each player"),
        ({"learning_rate": {1: 1e-3}}, "one for each player"),
    ],
)
def test_values_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        TrainingSettings(**changes)


@pytest.mark.parametrize("settings", ["x", {"epochs": 2}, TrainingSettings])
def test_settings_of_another_kind_are_refused(noise, vae, tmp_path, settings):
    with pytest.raises(UsageError, match=r"settings are an anogen\.TrainingSettings"):
        fit(vae(noise.shape), noise, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("images", "batch"), [(2, 16), (80, 16), (300, 32), (1437, 128), (10**6, 128)]
)
def test_few_images_make_a_small_batch(images, batch):
    assert TrainingSettings().for_images(images).batch_size == batch
    assert TrainingSettings(batch_size=100).for_images(images).batch_size == 100


def test_a_warm_up_takes_a_tenth_of_a_short_training():
    settings = TrainingSettings(warmup_steps=200)
    assert settings.warmup(10_000) == 200
    assert settings.warmup(300) == 30
    assert settings.warmup(5) == 0
