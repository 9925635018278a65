"""Distances of features, against closed forms and against torchmetrics."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from anogen import (
    Images,
    MixtureSampler,
    Splits,
    evaluate,
    evaluate_generation,
    measure_samples,
    split,
)
from anogen.data.corruptions import corrupt
from anogen.device import choose_device
from anogen.errors import DataError, UsageError
from anogen.evaluation import features as features_module
from anogen.evaluation.distances import (
    class_kl,
    coverage,
    density,
    frechet_distance,
    kernel_distance,
    manifold_share,
)
from anogen.evaluation.features import feature_extractor, turned
from anogen.evaluation.generation import nearest_images, rows_of, sample_images
from anogen.nets.condition import NoCondition

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(400, 3)), RNG.normal(1, 2, size=(400, 3))


def test_the_frechet_distance_of_gaussians_is_its_closed_form():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(200_000, 2)), rng.normal(3, 2, size=(200_000, 2))
    assert frechet_distance(a, b) == pytest.approx(2 * 9 + 2 * (2 - 1) ** 2, rel=0.01)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    singular = np.column_stack([a, np.zeros(len(a))])
    assert frechet_distance(singular, singular + 1) == pytest.approx(3, rel=1e-6)


class Given(torch.nn.Module):
    """Features hidden in images, for torchmetrics."""

    num_features = 3

    def forward(self, x):
        return x.double().flatten(1)[:, :3]


def in_torchmetrics(metric, a, b):
    for values, real in ((a, True), (b, False)):
        metric.update(torch.from_numpy(values)[:, :, None, None].expand(-1, -1, 2, 2)[:, :3, :1, :1]
                      .contiguous(), real=real)  # fmt: skip
    return metric.compute()


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_distances_agree_with_torchmetrics():
    ours = frechet_distance(A, B)
    theirs = FrechetInceptionDistance(feature=Given(), input_img_size=(3, 1, 1)).set_dtype(
        torch.float64
    )
    assert ours == pytest.approx(float(in_torchmetrics(theirs, A, B)), rel=1e-4)
    kernel = KernelInceptionDistance(feature=Given(), subsets=10, subset_size=400)
    assert kernel_distance(A, B) == pytest.approx(float(in_torchmetrics(kernel, A, B)[0]), rel=1e-4)


def test_precision_and_recall_on_points_one_can_count():
    real = np.arange(10.0)[:, None]
    assert manifold_share(np.array([[4.5], [30.0]]), real, k=1) == 0.5
    assert manifold_share(real, np.array([[4.5], [5.5]]), k=1) == pytest.approx(0.3)
    assert density(np.array([[4.5], [30.0]]), real, k=1) == 1.0  # two balls hold 4.5
    assert coverage(np.array([[4.5], [30.0]]), real, k=1) == 0.2


def test_fewer_modes_lower_recall_and_noise_lowers_precision():
    real = RNG.normal(size=(300, 2)) * 0.1 + RNG.integers(0, 2, (300, 1)) * 5
    one = real[real[:, 0] < 2.5]
    far = RNG.uniform(-20, 20, (300, 2))
    assert manifold_share(one, real) > 0.95
    assert manifold_share(real, one) < 0.7
    assert manifold_share(far, real) < 0.1
    assert coverage(one, real) < 0.7


def test_class_kl():
    assert class_kl(np.zeros(10, int), np.array([0, 1] * 5), 2) == pytest.approx(np.log(2))
    assert class_kl(np.array([0, 1] * 5), np.array([0, 0, 0, 1] * 5), 2) == pytest.approx(
        0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(features_module, "MIN_STEPS", 20)
    return tmp_path


def test_the_extractor_is_trained_once_and_kept(cache, digits, monkeypatch):
    device = choose_device("cpu")
    first = feature_extractor(digits, device)
    assert first.accuracy > 0.5
    assert first.name.startswith("digits-classifier-")
    monkeypatch.setattr(features_module, "trained_classifier", None)  # a second training would fail
    again = feature_extractor(digits, device)
    assert (again.name, again.accuracy) == (first.name, first.accuracy)
    a, b = (extract(digits.test, device)[0] for extract in (first, again))
    assert np.array_equal(a, b)
    assert a.var(0).mean() == pytest.approx(1)


def test_a_damaged_cache_is_trained_anew(cache, digits):
    device = choose_device("cpu")
    first = feature_extractor(digits, device)
    (weights,) = cache.rglob("weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert feature_extractor(digits, device).name == first.name


def test_every_number_and_its_floor(cache, trained, digits):
    model = trained.load_model()
    result = evaluate_generation(model, digits, samples=80)
    for name in ("frechet_distance", "kernel_distance", "precision", "recall", "density",
                 "coverage", "classes_covered", "class_kl_nats",
                 "nearest_train_distance"):  # fmt: skip
        assert np.isfinite(result[name])
        assert np.isfinite(result[f"{name}_floor"])
    assert result["frechet_distance"] > result["frechet_distance_floor"]
    assert result["coverage"] < result["coverage_floor"]
    assert (result["generated"], result["compared_with"], result["classes"]) == (80, 60, 10)
    assert result == evaluate_generation(model, digits, samples=80)
    assert result != evaluate_generation(model, digits, samples=80, seed=1)
    mixture = MixtureSampler.fit(model, digits.train, 5)
    other = evaluate_generation(model, digits, samples=80, sampler=mixture)
    assert other["sampler"] == "mixture"
    assert other["frechet_distance"] != result["frechet_distance"]
    assert other["frechet_distance_floor"] == result["frechet_distance_floor"]


def test_copies_of_training_images_are_noticed(cache, digits):
    class Copies(torch.nn.Module):
        shape, latent, classes, condition = digits.shape, 1, 0, NoCondition()
        takes_text = False

        def __init__(self, images):
            super().__init__()
            self.pixels = torch.nn.Parameter(torch.from_numpy(images.pixels[:] / 255.0))

        sampler = None

        def sample(self, count, generator=None, condition=None, sampler=None):
            return self.pixels[torch.randint(len(self.pixels), (count,), generator=generator)]

    result = evaluate_generation(Copies(digits.train), digits, samples=60)
    assert result["nearest_train_distance"] == pytest.approx(0, abs=0.01)
    assert result["nearest_train_distance_floor"] > 1
    blurred = corrupt(digits.train, "blur")
    worse = evaluate_generation(Copies(blurred), digits, samples=60)
    assert worse["frechet_distance"] > result["frechet_distance"]
    assert worse["sharpness_samples"] < result["sharpness_samples"]


def test_without_labels_a_net_that_tells_turns_gives_the_features(cache, vae, digits):
    parts = (digits.train, digits.validation, digits.test)
    data = Splits(*(replace(part, labels=None) for part in parts))
    result = evaluate_generation(vae(data.shape), data, samples=60)
    assert result["feature_extractor"].startswith("digits-turns-")
    assert result["feature_extractor_accuracy"] > 0.5
    assert result["frechet_distance"] > 3 * result["frechet_distance_floor"]
    assert not {"classes", "classes_covered", "class_kl_nats"} & set(result)
    again = feature_extractor(data, choose_device("cpu"))
    assert again.name == result["feature_extractor"]


@pytest.mark.parametrize("shape", [(2, 5, 5), (2, 4, 6)])
def test_turned_images_are_four_different_ones(shape):
    x = torch.rand(1, *shape).repeat(4, 1, 1, 1)
    y = turned(x, torch.arange(4))
    assert torch.equal(y[0], x[0])
    assert len({tuple(image.flatten().tolist()) for image in y}) == 4
    assert torch.equal(y[3].flatten().sort().values, x[3].flatten().sort().values)
    back = turned(y, torch.tensor([0, 3, 2, 1] if shape[1] == shape[2] else [0, 1, 2, 3]))
    assert torch.equal(back, x)


def test_tiny_images_and_tiny_sets(cache, vae, digits):
    small = Images(
        digits.train.pixels[:, :, ::10, ::10], "small", digits.train.labels, digits.train.classes
    )
    data = split(small)
    assert data.shape == (1, 3, 3)
    result = evaluate_generation(vae(data.shape), data, samples=40)
    json.dumps(result, allow_nan=False)
    assert result["frechet_distance"] > 0
    few = split(digits.train[:12])
    result = evaluate_generation(vae(few.shape), few, samples=40)
    json.dumps(result, allow_nan=False)
    assert "frechet_distance" not in result
    unlabelled = replace(digits, test=replace(digits.test, labels=None))
    assert "classes" not in evaluate_generation(vae(digits.shape), unlabelled, samples=20)


def test_samples_are_a_data_set(vae, digits):
    images = sample_images(vae(digits.shape), 7)
    assert isinstance(images, Images)
    assert images.pixels.shape == (7, *digits.shape)


def test_arrays_are_measured_and_mixed_up_arguments_refused(cache, vae, digits):
    model = vae(digits.shape)
    assert measure_samples(digits.test.pixels[:], digits)["generated"] == len(digits.test)
    for call, message in (
        (lambda: evaluate(model, digits), "needs anogen.Images, found Splits; give one of its"),
        (lambda: MixtureSampler.fit(model, digits), "mixture needs anogen.Images"),
        (lambda: evaluate_generation(model, digits.test), "needs anogen.Splits, found Images"),
        (lambda: measure_samples(digits.test, "digits"), "needs anogen.Splits, found str"),
        (lambda: evaluate_generation(model, digits, sampler="mixture"), "give an object, such as"),
    ):
        with pytest.raises(UsageError, match=message):
            call()


def test_what_makes_no_sense_is_refused(vae, digits, noise):
    with pytest.raises(UsageError, match="samples must be at least 2"):
        evaluate_generation(vae(digits.shape), digits, samples=1)
    with pytest.raises(UsageError, match="the model has"):
        evaluate_generation(vae(digits.shape), Splits(noise.train, noise.train, noise.train))


def test_the_floor_is_that_of_training_images(cache, digits):
    """With other training images the floor is another, whatever the samples are."""
    device = choose_device("cpu")
    drawn = digits.train[:60]
    found = measure_samples(drawn, digits)
    extract = feature_extractor(digits, device)
    real, _ = extract(digits.test, device)
    evenly = np.linspace(0, len(digits.train) - 1, 60).astype(np.int64)
    other, _ = extract(digits.train[evenly], device)
    assert found["frechet_distance_floor"] == pytest.approx(frechet_distance(real, other))
    assert found["frechet_distance_floor"] > 0.01
    assert found["precision_floor"] == manifold_share(other, real)
    assert found["recall_floor"] == manifold_share(real, other)
    assert found["nearest_train_distance"] < 1e-3  # the samples are training images
    assert found["nearest_train_distance_floor"] > 1


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_to_compare_are_refused(rows):
    few, many = np.zeros((rows, 3)), np.random.default_rng(0).normal(size=(20, 3))
    for measure in (frechet_distance, kernel_distance, manifold_share, density, coverage):
        for pair in ((few, many), (many, few)):
            with pytest.raises(DataError, match="2 or more are needed"):
                measure(*pair)
    with pytest.raises(DataError, match="not finite"):
        frechet_distance(many, np.full((20, 3), np.nan))
    for wrong in (np.array([-1]), np.array([2])):
        with pytest.raises(DataError, match="between 0 and 1"):
            class_kl(wrong, np.array([0, 1]), 2)
    with pytest.raises(DataError, match="1 or more"):
        class_kl(np.array([], int), np.array([0, 1]), 2)


def test_the_classifier_is_left_in_evaluation_mode(cache, digits):
    """Its accuracy is that of single images, whatever others are in their batch."""
    net = features_module.trained_classifier(digits.train, 10, choose_device("cpu"))
    assert not any(module.training for module in net.modules())


def test_the_nearest_training_image_is_found_in_whatever_piece_it_is():
    pixels = np.zeros((5003, 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(5003) % 256
    pixels[7, 0, 1] = 200
    train = Images(pixels, "long")
    rows = pixels[[7, 5002]].reshape(2, -1).astype(np.float32) / 255
    distances, places = nearest_images(rows, train)
    assert distances == pytest.approx([0, 0], abs=1e-6)
    assert np.array_equal(rows_of(train[places]), rows)
