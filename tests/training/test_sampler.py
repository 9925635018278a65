"""The sampler that is fitted after training and kept with the run."""

import shutil
from dataclasses import replace

import pytest
import torch

from anogen import GAN, VAE, Run, Splits, fit
from anogen.models import sampling


def trained(digits, path, **settings) -> Run:
    torch.manual_seed(0)
    model = VAE(digits.shape, latent=3, width=4)
    return fit(model, digits, path, epochs=2, batch_size=60, **settings)


def samples(model, sampler=None):
    return model.sample(5, torch.Generator().manual_seed(0), sampler=sampler)


def test_a_run_samples_from_where_its_data_lies(digits, tmp_path):
    model = trained(digits, tmp_path / "run").load_model()
    assert model.sampler.name == "mixture"
    prior = sampling.PriorSampler(model.latent)
    assert not torch.equal(samples(model), samples(model, prior))
    assert torch.equal(samples(model), samples(model, model.sampler))
    model.sampler = None
    assert torch.equal(samples(model), samples(model, prior))


def test_the_prior_stays_if_asked_or_where_nothing_encodes(digits, tmp_path):
    assert trained(digits, tmp_path / "prior", fit_sampler=False).load_model().sampler is None
    model = GAN(digits.shape, latent=3, width=4)
    run = fit(model, digits, tmp_path / "gan", epochs=1, monitor="loss_generator")
    assert run.load_model().sampler is None


@pytest.mark.parametrize(("rate", "improves"), [(0.001, True), (0.02, False)])
def test_a_sampler_belongs_to_the_weights_that_it_was_fitted_to(digits, tmp_path, rate, improves):
    """A third epoch that is better has a sampler of its own; a worse one has none."""
    run = trained(digits, tmp_path / "run", learning_rate=rate)
    first = samples(run.load_model())

    def go_on():
        model = VAE(digits.shape, latent=3, width=4)
        fit(model, digits, run.path, epochs=3, resume=True, batch_size=60, learning_rate=rate)

    go_on()
    before = samples(run.load_model())
    assert run.epoch_of() == (3 if improves else 2)
    assert torch.equal(before, first) != improves
    assert (run.load_model("last").sampler is not None) == improves
    shutil.rmtree(run.sampler)
    assert run.load_model().sampler is None
    go_on()
    assert torch.equal(samples(run.load_model()), before)  # the same once more


def test_a_damaged_sampler_is_said_and_fitted_again(digits, tmp_path, capsys):
    run = trained(digits, tmp_path / "run")
    before = samples(run.load_model())
    (run.sampler / "state.json").write_text("{}")
    assert run.load_model().sampler is None
    assert "sampler: damaged" in capsys.readouterr().err
    model = VAE(digits.shape, latent=3, width=4)
    fit(model, digits, run.path, epochs=2, resume=True, batch_size=60)
    assert torch.equal(samples(run.load_model()), before)


def test_a_model_that_is_trained_on_draws_from_its_prior_meanwhile(digits, tmp_path):
    model = trained(digits, tmp_path / "run").load_model()
    fit(model, digits, tmp_path / "more", epochs=1, batch_size=60)
    assert model.sampler is None


def test_a_class_with_one_image_leaves_the_prior(digits, tmp_path, capsys):
    few = digits.train[digits.train.labels < 2]
    labels = few.labels.copy()
    labels[:] = 0
    labels[0] = 1
    train = replace(few, labels=labels)
    data = Splits(train, digits.validation[digits.validation.labels < 2], digits.test)
    torch.manual_seed(0)
    model = VAE(digits.shape, latent=3, width=4, classes=2)
    run = fit(model, data, tmp_path / "run", epochs=1)
    assert "samples will come from the prior" in capsys.readouterr().err
    assert run.load_model().sampler is None
