"""`anogen.translate` and how translations are measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from anogen import VAE, Splits, Translator, evaluate_generation, fit, load_data, translate
from anogen.data.batches import to_unit
from anogen.data.catalog import load_domains
from anogen.data.domains import balanced, brought_to
from anogen.data.images import Images
from anogen.errors import DataError, UsageError
from anogen.evaluation.distances import frechet_distance
from anogen.evaluation.features import feature_extractor
from anogen.evaluation.reconstruction import psnr_db, ssim
from anogen.evaluation.translation import evaluate_translation, translated_images
from anogen.training.watch import fixed_samples
from anogen.translation.translate import Domains, domains_of

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits_and_more() -> Splits:
    return load_data("digits,digits+inversion", pairs="order", limit=200)


@pytest.fixture(scope="module")
def run(digits_and_more, tmp_path_factory):
    torch.manual_seed(0)
    model = Translator(digits_and_more.shape, width=8, code=4)
    return fit(model, digits_and_more, tmp_path_factory.mktemp("runs") / "run", epochs=3,
               batch_size=20, learning_rate=0.005)  # fmt: skip


def small(**options) -> Translator:
    torch.manual_seed(0)
    return Translator((1, 16, 16), width=4, **options).eval()


@pytest.mark.parametrize(
    "shape", [(16, 16), (16, 16, 1), (5, 16, 16), (5, 1, 16, 16), (5, 16, 16, 1)]
)
def test_layouts_and_types_come_back(shape):
    model = small()
    pixels = RNG.integers(0, 256, shape, np.uint8)
    found = translate(model, pixels, to=1).images
    assert (found.shape, found.dtype) == (shape, np.uint8)
    floats = translate(model, (pixels / 255).astype(np.float64), to="1").images
    assert floats.dtype == np.float64
    assert np.abs(floats * 255 - found).max() <= 0.51


def test_other_sizes_and_colours_are_brought_as_in_training():
    model = small()
    colours = RNG.integers(0, 256, (3, 20, 24, 3), np.uint8)
    found = translate(model, colours, to=0).images
    assert found.shape == (3, 16, 16, 1)
    x = brought_to(colours.transpose(0, 3, 1, 2), (1, 16, 16))
    assert np.array_equal(found, translate(model, x.transpose(0, 2, 3, 1), to=0).images)
    torch.manual_seed(0)
    of_colours = Translator((3, 16, 16), width=4)
    assert translate(of_colours, np.zeros((2, 8, 8), np.uint8), to=0).images.shape == (2, 16, 16, 3)


def test_an_image_is_the_same_in_any_company():
    model = small()
    pixels = RNG.integers(0, 256, (7, 16, 16), np.uint8)
    whole = translate(model, pixels, to=1, samples=2)
    assert whole.samples is not None
    assert whole.samples.shape == (2, 7, 16, 16)
    for place in (0, 3, 6):
        alone = translate(model, pixels[place], to=1, samples=2)
        assert np.array_equal(alone.images, whole.images[place])
        assert np.array_equal(alone.samples, whole.samples[:, place])
    other = translate(model, pixels, to=1, samples=2, seed=1)
    assert not np.array_equal(other.samples, whole.samples)
    assert not np.array_equal(whole.samples[0], whole.samples[1])


def test_a_run_knows_its_domains_by_name(run):
    pixels = RNG.integers(0, 256, (2, 28, 28), np.uint8)
    found = translate(run, pixels, to="digits+inversion").images
    assert np.array_equal(found, translate(str(run.path), pixels, to=1).images)
    assert domains_of(run).names == ("digits", "digits+inversion")
    with pytest.raises(UsageError, match=r"unknown domain 'digit'; did you mean 'digits'"):
        translate(run, pixels, to="digit")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: translate(VAE((1, 16, 16)), np.zeros((16, 16)), to=0), UsageError,
         "a VAE does not translate"),
        (lambda: translate(small(), np.zeros((16, 16)), to=2), UsageError, "unknown domain '2'"),
        (lambda: translate(small(), np.zeros((16, 16)), to=True), UsageError, "unknown domain"),
        (lambda: translate(small(), np.zeros((16, 16)), to=0, samples=-1), UsageError, "samples"),
        (lambda: translate(small(beta=0.0), np.zeros((16, 16)), to=0, samples=1), UsageError,
         "codes do not vary"),
        (lambda: translate(small(), np.zeros((16, 16, 2)), to=0), DataError, "shape"),
        (lambda: translate(small(), np.full((16, 16), np.nan), to=0), DataError, "finite"),
        (lambda: translate(small(), np.zeros((16, 16)), to=0, seed=-1), UsageError, "seed"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_where_an_image_is_from_is_where_it_is_reconstructed_best(run, digits_and_more):
    domains = domains_of(run)
    test = digits_and_more.test
    guessed = [
        domains.source_of(to_unit(torch.from_numpy(test.pixels[index : index + 1])))
        for index in np.arange(len(test))
    ]
    assert np.mean(np.array(guessed) == test.labels) > 0.9
    everywhere = domains.everywhere(to_unit(torch.from_numpy(test.pixels[:1])))
    assert everywhere.shape == (2, 1, 28, 28)


def test_a_learnt_translation_is_nearer_to_the_truth_than_a_copy(run, digits_and_more):
    model = run.load_model()
    rows = evaluate_translation(
        model, digits_and_more, load_domains(digits_and_more), images=60, adaptation_steps=30
    )
    assert [(row["from"], row["to"]) for row in rows] == [
        ("digits", "digits+inversion"), ("digits+inversion", "digits"),
    ]  # fmt: skip
    for row in rows:
        assert row["psnr_db"] > row["psnr_db_copy"] + 3
        assert row["ssim"] > row["ssim_copy"]
        assert min(row["frechet_distance_floor"], row["frechet_distance"]) >= 0
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        for name in ("accuracy", "adaptation_accuracy"):
            assert {f"{name}_copy", f"{name}_real"} <= set(row)
        assert row["accuracy_real"] > 0.7


def test_numbers_are_those_of_the_images(run, digits_and_more):
    model = run.load_model()
    (row, _) = evaluate_translation(
        model, digits_and_more, load_domains(digits_and_more), images=30, adaptation_steps=0
    )
    assert "adaptation_accuracy" not in row
    test = digits_and_more.test
    given, true = (test[test.labels == domain].evenly(30) for domain in (0, 1))
    made, _ = translated_images(model, given, 1)
    x, y = (to_unit(torch.from_numpy(np.array(each.pixels[:]))) for each in (true, made))
    assert row["psnr_db"] == pytest.approx(psnr_db(x, y).mean().item(), rel=1e-5)
    assert row["ssim"] == pytest.approx(ssim(x, y).mean().item(), rel=1e-5)
    domain = load_domains(digits_and_more)[0].test.evenly(30)
    z = to_unit(torch.from_numpy(np.array(domain.pixels[:])))
    with torch.no_grad():
        to = torch.ones(len(z), dtype=torch.int64)
        own = 0 * to
        back = model.translate(model.translate(z, to), own)
    assert row["cycle_error"] == pytest.approx((back - z).abs().mean().item(), rel=1e-4)


def test_the_nearest_pair_is_the_partner_of_the_most_similar_training_image(run, digits_and_more):
    same = Splits(digits_and_more.test, digits_and_more.validation, digits_and_more.test,
                  digits_and_more.source)  # fmt: skip
    (row, _) = evaluate_translation(
        run.load_model(), same, load_domains(digits_and_more), images=30, adaptation_steps=0
    )
    assert row["psnr_db_nearest"] == pytest.approx(100)  # each finds itself, and so its partner


def test_without_labels_and_pairs_what_can_be_measured_is(tmp_path):
    domains = [
        Images(RNG.integers(low, low + 100, (60, 1, 16, 16), np.uint8), name)
        for name, low in (("dark", 0), ("light", 150))
    ]
    labels = np.repeat([0, 1], 60)
    both = Images(np.concatenate([each.pixels for each in domains]), "both", labels,
                  ("dark", "light"))  # fmt: skip
    data = Splits(both[::2], both[1::4], both[3::4])
    assert len(balanced(data.train)) == 60
    rows = evaluate_translation(small(), data, load_domains(data), images=30)
    assert {"cycle_error", "identity_error", "frechet_distance"} <= set(rows[0])
    assert not {"accuracy", "psnr_db"} & set(rows[0])


def test_runs_of_pairs_are_measured_by_their_samples_too(run, digits_and_more):
    found = evaluate_generation(run.load_model(), digits_and_more, samples=20)
    assert found["classes"] == 2
    assert 0 <= found["feature_extractor_accuracy"] <= 1


def test_distances_are_of_as_many_images_each(run, digits_and_more):
    domains = load_domains(digits_and_more)
    whole = load_domains(load_data("digits,digits+inversion"))
    small = [replace(each, train=other.train) for each, other in zip(domains, whole, strict=True)]
    rows = [
        evaluate_translation(run.load_model(), digits_and_more, parts, adaptation_steps=0)[0]
        for parts in (small, [small[0], replace(small[1], test=whole[1].test)])
    ]
    count = len(domains[0].test)
    judge = feature_extractor(small[1], torch.device("cpu"))
    found = [
        judge(part.evenly(count), torch.device("cpu"))[0]
        for part in (domains[1].test, small[1].train)
    ]
    assert rows[0]["frechet_distance_floor"] == pytest.approx(frechet_distance(*found), rel=1e-6)
    assert rows[1]["frechet_distance_floor"] != rows[0]["frechet_distance_floor"]


def test_floats_have_their_range():
    with pytest.raises(DataError, match=r"floats must lie in \[0, 1\], found 0 to 200"):
        translate(small(), np.array([[0.0, 200.0]] * 16).repeat(8, 1), to=0)


def test_a_model_stays_in_its_mode():
    model = small().train()
    translate(model, np.zeros((16, 16), np.uint8), to=0)
    assert model.training


def test_training_shows_images_above_their_translations(run, digits_and_more):
    model = run.load_model()
    shown = fixed_samples(model, 0, digits_and_more.validation).reshape(4, 8, 1, 28, 28)
    rows = np.linspace(0, len(digits_and_more.validation) - 1, 16).astype(int)
    given = digits_and_more.validation[rows]
    assert np.array_equal(shown[[0, 2]].reshape(16, 1, 28, 28), given.pixels[:])
    for place in (0, 9, 15):
        to = 1 - int(given.labels[place])
        made = translate(model, given.pixels[:][place, 0], to=to).images
        found = shown[[1, 3]].reshape(16, 28, 28)[place]
        assert np.abs(found.astype(int) - made).max() <= 1


def test_domains_that_do_not_fit(digits_and_more):
    domains = load_domains(digits_and_more)
    with pytest.raises(UsageError, match="the model has 2 domains of"):
        evaluate_translation(small(), digits_and_more, domains)
    model = Translator(digits_and_more.shape, width=4)
    with pytest.raises(UsageError, match="the model has 2 domains of"):
        evaluate_translation(model, digits_and_more, domains[:1])
    with pytest.raises(UsageError, match="images must be at least 2"):
        evaluate_translation(model, digits_and_more, domains, images=1)
    assert Domains.of(model, ("one",)).names == ("0", "1")
