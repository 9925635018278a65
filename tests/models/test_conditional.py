"""Models that are conditional on labels."""

import numpy as np
import pytest
import torch

from anogen import GAN, MODELS, Images, Splits, Translator, fit
from anogen.errors import UsageError
from anogen.models.base import HasLikelihood, Reconstructs
from anogen.nets.condition import ClassCondition, condition_on, repeated

from ..conftest import GENERATIVE

SHAPE = (1, 16, 16)
X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture(params=GENERATIVE)
def model(request):
    torch.manual_seed(0)
    latent = {"code": 2} if request.param == "Translator" else {"latent": 4}
    return MODELS[request.param](SHAPE, **latent, width=4, classes=3)


def test_losses_depend_on_the_labels(model):
    values = []
    for label in (LABEL, LABEL, LABEL.flip(0)):
        if hasattr(model, "mean_path"):
            model.mean_path.zero_()  # it moves with every training pass
        torch.manual_seed(1)
        values.append({k: v.item() for k, v in model.losses(X, 0, label).players.items()})
    assert values[0] == values[1]
    assert all(values[0][player] != values[2][player] for player in values[0])


def test_samples_follow_the_label(model):
    model.eval()
    zeros, ones = torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    drawn = [
        model.sample(6, torch.Generator().manual_seed(0), label) for label in (zeros, zeros, ones)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert model.sample(6, torch.Generator().manual_seed(0)).shape == drawn[0].shape


def test_without_a_label_one_line_says_what_is_missing(model):
    calls = [lambda: model.losses(X), lambda: model.decode(torch.zeros(6, model.latent))]
    if isinstance(model, Reconstructs):
        calls.append(lambda: model.reconstruct(X))
    if isinstance(model, HasLikelihood):
        calls.append(lambda: model.elbo(X))
    for call in calls:
        with pytest.raises(UsageError, match=r"conditional \(classes=3\); give a label"):
            call()


def test_a_discriminator_has_one_output_per_label():
    logits = torch.arange(6.0).view(2, 3)
    assert condition_on(3).logit(logits, torch.tensor([2, 0])).tolist() == [2.0, 3.0]
    assert condition_on(0).logit(logits, None).tolist() == [0.0, 3.0]


def test_conditions_of_a_batch_are_repeated_row_by_row():
    tokens = torch.tensor([[1, 2], [3, 4]])
    assert repeated(tokens, 2).tolist() == [[1, 2], [3, 4], [1, 2], [3, 4]]
    assert repeated(None, 3) is None


def test_labels_and_sizes_that_do_not_exist_are_refused(model):
    with pytest.raises(UsageError, match="label 3: this model has the labels 0 to 2"):
        model.decode(torch.zeros(1, 4), torch.tensor([3]))
    translates = isinstance(model, Translator)
    size, few = ("code", "two domains") if translates else ("latent", "must not be negative")
    for options, message in (({size: 0}, f"{size} must be at least 1"), ({"classes": -1}, few)):
        with pytest.raises(UsageError, match=message):
            type(model)(SHAPE, **({"width": 4} | options))


def labelled(pixels, labels) -> Splits:
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    images = Images(pixels, "two", labels, classes)
    return Splits(images[:400], images[400:450], images[450:])


@pytest.mark.parametrize("name", ["VAE", "GAN", "VAEGAN"])
def test_a_conditional_model_learns_which_label_is_which(name, tmp_path):
    """Label 0 is bright above and label 1 below; samples of each must follow."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    pixels = rng.integers(0, 60, (500, *SHAPE), np.uint8)
    for index, label in enumerate(labels):
        pixels[index, 0, 8 * label : 8 * label + 8] += 150
    torch.manual_seed(0)
    model = MODELS[name](SHAPE, latent=2, width=8, classes=2)
    fit(model, labelled(pixels, labels), tmp_path / "run", epochs=8, batch_size=20,
        learning_rate=3e-3)  # fmt: skip
    for label in (0, 1):
        drawn = model.sample(50, torch.Generator().manual_seed(0), torch.full((50,), label))
        halves = drawn[:, 0, :8].mean(), drawn[:, 0, 8:].mean()
        assert halves[label] > halves[1 - label] + 0.2


def test_data_that_does_not_fit_is_refused_before_training(noise, tmp_path):
    with pytest.raises(UsageError, match="noise has no labels; set classes 0"):
        fit(GAN(noise.shape, 4, width=4, classes=3), noise, tmp_path / "run")
    data = labelled(np.zeros((500, *SHAPE), np.uint8), np.arange(500) % 4)
    with pytest.raises(UsageError, match="has the label 3; set classes 4"):
        fit(GAN(SHAPE, 4, width=4, classes=3), data, tmp_path / "run")
    with pytest.raises(UsageError, match="two has 4 labels; set classes 4"):
        fit(GAN(SHAPE, 4, width=4, classes=9), data, tmp_path / "run")


@pytest.mark.parametrize("wrong", [-1, 3, 100])
def test_labels_outside_the_classes_are_refused(wrong):
    condition = ClassCondition(3)
    for call in (lambda label: condition.append(torch.zeros(2, 4), label),
                 lambda label: condition.logit(torch.zeros(2, 3), label)):  # fmt: skip
        with pytest.raises(UsageError, match=f"label {wrong}: this model has the labels 0 to 2"):
            call(torch.tensor([0, wrong]))


def test_a_generator_decides_labels_too(model):
    model.eval()
    first, again, other = (
        model.sample(12, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
