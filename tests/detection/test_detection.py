"""Scores, calibration, the detector and the command, with promises checked by simulation."""

import copy
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from anogen import GAN, MODELS, SCORES, VAE, Detector, Images, Run, Splits, corrupt
from anogen.detection.calibration import Calibration, discoveries
from anogen.detection.density import Density
from anogen.detection.fitting import unfitted_images
from anogen.detection.judge import judge
from anogen.detection.metrics import intervals, precision_recall, separation
from anogen.detection.scores import FUSED, available, fit_scores, score_images, smallest_view
from anogen.detection.view import Prepared
from anogen.errors import DataError, UsageError

from ..conftest import small_model

CPU = torch.device("cpu")


@pytest.fixture(params=[name for name in MODELS if name != "Translator"])  # it needs domains
def model(request, digits):
    torch.manual_seed(0)
    return small_model(request.param, digits.shape).eval()


def awkward(shape) -> Images:
    """Black, white, one bright pixel, noise, and a checkerboard."""
    pixels = np.zeros((5, *shape), np.uint8)
    pixels[1] = 255
    pixels[2, 0, 3, 3] = 255
    pixels[3] = np.random.default_rng(0).integers(0, 256, shape)
    pixels[4, :, ::2, ::2] = 255
    return Images(pixels, "awkward")


@pytest.mark.parametrize("score", [FUSED, "squared_error", "negative_elbo", "pixel_entropy"])
def test_few_images_have_the_scores_that_they_have_among_many(trained, digits, score):
    """Small views are taken only where this processor gives the same bits in them."""
    detector = Detector.fit(trained.load_model(), digits, score)
    whole = Detector.fit(trained.load_model(), digits, score).score(
        Images(np.concatenate([digits.test.pixels, digits.train.pixels]), "many")
    )
    for count in (1, 2, 5, 17, 60):
        assert np.array_equal(detector.score(digits.test[:count]), whole[:count])
    assert detector.prepared.sizes[(score,)][-1] == 256


def test_the_place_of_an_image_among_others_does_not_matter(trained, digits):
    """The last rows of a product of matrices are computed otherwise, where they fill no block."""
    detector = Detector.fit(trained.load_model(), digits)
    once = digits.test.pixels[:7]
    many = detector.score(Images(np.concatenate([once] * 80), "many")).reshape(80, 7)
    assert (many == many[0]).all()
    assert np.array_equal(detector.score(Images(once, "few")), many[0])


def test_a_detector_can_be_copied_and_pickled_after_it_has_scored(trained, digits):
    detector = Detector.fit(trained.load_model(), digits)
    scores = detector.score(digits.test[:3])
    detector.prepared.light.register_forward_hook(lambda *_: None)  # as in bfloat16
    for again in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        assert np.array_equal(again.score(digits.test[:3]), scores)


def test_a_view_that_rounds_otherwise_is_not_taken(trained, digits):
    prepared = Prepared.of(trained.load_model(), CPU)

    def columns(view):
        rounding = 1e-9 * (len(view.x) == 4)
        return view.x.flatten(1).sum(1, keepdim=True).double().numpy() + rounding

    x = torch.rand(2, *digits.shape)
    assert smallest_view(prepared, x, ("some",), columns) == 8
    assert prepared.sizes == {("some",): [1, 8, 16, 32, 64, 128, 256]}


COSTLY = ("regret", "inversion", "importance_weighted")


def test_every_score_is_finite_and_its_own_image_s_alone(model, digits):
    names = [
        name
        for name in available(model, [model])
        if name not in COSTLY and not SCORES[name].package and not SCORES[name].trains
    ]
    states = fit_scores(model, digits.train[:100], names, CPU)

    def scored(pixels):
        return score_images(model, Images(pixels, "some"), names, CPU, states, [model])

    mixed = np.concatenate([awkward(digits.shape).pixels, digits.test.pixels[:300]])
    whole = scored(mixed)
    assert whole.dtype == np.float64
    assert np.isfinite(whole).all()
    order = np.random.default_rng(1).permutation(len(mixed))
    assert np.array_equal(scored(mixed[order]), whole[order])
    assert np.array_equal(scored(mixed[7:8]), whole[7:8])


def test_costly_scores_are_each_image_s_alone_too(noise, vae):
    model = vae(noise.shape, width=2).eval()
    names = [name for name in COSTLY if SCORES[name].fits(model)]
    assert names == ["regret", "importance_weighted"]
    some = noise.test[:6]
    whole = score_images(model, some, names, CPU)
    assert np.isfinite(whole).all()
    assert np.array_equal(score_images(model, some[::-1], names, CPU), whole[::-1])


def test_scores_mean_what_they_say(vae, digits):
    model = vae(digits.shape).eval()
    names = ["squared_error", "pixel_sum", "nonzero_pixels", "pixel_entropy", "kl"]
    found = score_images(model, digits.test, names, CPU)
    x = torch.from_numpy(digits.test.pixels / np.float32(255))
    with torch.inference_mode():
        error = (x - model.reconstruct(x)).square().flatten(1).sum(1)
        kl = model.kl(x).sum(1)
    assert found[:, 0] == pytest.approx(error.numpy(), rel=1e-4)
    assert found[:, 1] == pytest.approx(x.flatten(1).sum(1).numpy(), rel=1e-5)
    assert found[:, 2].tolist() == (x > 0).flatten(1).sum(1).tolist()
    assert found[:, 4] == pytest.approx(kl.numpy(), rel=1e-3)
    black = score_images(model, awkward(digits.shape)[:1], ["pixel_entropy"], CPU)
    assert black.item() == 0.0


@pytest.mark.parametrize("count", [19, 99, 100])
def test_p_values_are_those_of_the_definition_ties_included(count):
    rng = np.random.default_rng(count)
    known, new = rng.integers(0, 12, count).astype(float), rng.integers(-1, 14, 50).astype(float)
    calibration = Calibration.of(known)
    expected = [(1 + (known >= score).sum()) / (count + 1) for score in new]
    assert calibration.p_value(new).tolist() == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-5, 5), min_size=20, max_size=60),
    st.lists(st.integers(-7, 7), min_size=1, max_size=20),
    st.sampled_from([0.05, 0.1, 0.25, 0.5]),
)
def test_threshold_and_p_value_agree_on_every_input(known, new, rate):
    calibration = Calibration.of(np.array(known, float))
    scores = np.array(new, float)
    by_threshold = scores > calibration.threshold(rate)
    assert (by_threshold == (calibration.p_value(scores) <= rate + 1e-12)).all()


def test_p_values_are_uniform_and_the_rate_lies_in_its_interval():
    rng = np.random.default_rng(0)
    draws = [
        Calibration.of(rng.normal(size=499)).p_value(rng.normal(size=1)).item() for _ in range(2000)
    ]
    assert kstest(draws, "uniform").pvalue > 0.01
    inside = []
    for _ in range(400):
        small = Calibration.of(rng.uniform(size=199))
        low, high = small.false_positive_interval(0.05)
        inside.append(low <= 1 - small.threshold(0.05) <= high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_the_false_discovery_rate_is_held():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        calibration = Calibration.of(rng.normal(size=500))
        scores = np.concatenate([rng.normal(size=90), rng.normal(4, 1, 10)])
        chosen = discoveries(calibration.p_value(scores), 0.2)
        shares.append(chosen[:90].sum() / max(1, chosen.sum()))
    assert np.mean(shares) < 0.2
    assert not discoveries(np.array([0.5, 0.9]), 0.1).any()


def test_a_rate_that_cannot_be_supported_is_refused():
    calibration = Calibration.of(np.arange(50.0))
    with pytest.raises(UsageError, match=r"50 calibration examples cannot support .*0\.01"):
        calibration.threshold(0.01)
    with pytest.raises(UsageError, match="lies between 0 and 1"):
        calibration.threshold(1.0)
    with pytest.raises(DataError, match="not finite"):
        Calibration.of(np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="at least one"):
        Calibration.of(np.array([]))


def test_the_density_is_the_mixture_s():
    rng = np.random.default_rng(0)
    scores = rng.normal([3, -100], [1, 50], (2000, 2))
    density = Density.fit(scores)
    grid = rng.normal([3, -100], [2, 90], (50, 2))
    total = -density.surprise(grid)
    truth = -0.5 * (((grid - [3, -100]) / [1, 50]) ** 2).sum(1)
    assert np.corrcoef(total, truth)[0, 1] > 0.95
    assert np.isfinite(density.surprise(np.array([[1e9, -1e9]]))).all()
    constant = np.column_stack([scores, np.zeros(2000)])
    assert np.isfinite(Density.fit(constant).surprise(constant)).all()


def test_measures_agree_with_counting_and_with_scikit_learn():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=400).round(1), rng.normal(1.5, 1, 300).round(1)
    found = separation(inside, outside)
    truth, scores = np.repeat([0, 1], [400, 300]), np.concatenate([inside, outside])
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores))
    assert found["aupr_out"] == pytest.approx(average_precision_score(truth, scores))
    assert found["aupr_in"] == pytest.approx(average_precision_score(1 - truth, -scores))
    limits = np.unique(scores)
    allowed = [t for t in limits if (inside > t).mean() <= 0.05]
    assert found["tpr_at_5_fpr"] == max((outside > t).mean() for t in allowed)
    reached = [t for t in limits if (outside >= t).mean() >= 0.95]
    assert found["fpr_at_95_tpr"] == min((inside >= t).mean() for t in reached)
    kept = [t for t in limits if (inside <= t).mean() >= 0.95]
    assert found["fpr_at_95_tpr_in"] == min((outside <= t).mean() for t in kept)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found["fpr_at_95_tpr"] == pytest.approx(false[true >= 0.95].min())
    perfect = separation(np.zeros(10), np.ones(10))
    assert (perfect["auroc"], perfect["fpr_at_95_tpr"], perfect["tpr_at_1_fpr"]) == (1.0, 0.0, 1.0)
    assert perfect["fpr_at_95_tpr_in"] == 0.0


def test_bootstrap_intervals_cover_what_they_should():
    rng = np.random.default_rng(1)
    truth = norm.cdf(1.5 / np.sqrt(2))  # AUROC of N(0, 1) against N(1.5, 1)
    hits = []
    for seed in range(200):
        inside, outside = rng.normal(size=150), rng.normal(1.5, 1, 150)
        low, high = intervals(inside, outside, seed=seed)["auroc"]
        hits.append(low <= truth <= high)
    assert 0.91 < np.mean(hits) < 0.99
    assert intervals(inside, outside) == intervals(inside, outside)


def test_table_2():
    found = precision_recall(np.array([True] + [False] * 99), np.array([True] * 90 + [False] * 10))
    assert found["recall_0"] == 0.99
    assert found["recall_1"] == 0.9
    assert found["precision_0"] == pytest.approx(99 / 109)
    assert found["precision_1"] == pytest.approx(90 / 91)


def test_a_detector_finds_noise_and_keeps_its_promise(trained, digits):
    detector = Detector.fit(trained.load_model(), digits)
    noise = corrupt(digits.test, "uniform_noise")
    inside, outside = detector.score(digits.test), detector.score(noise)
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    assert roc_auc_score(truth, np.concatenate([inside, outside])) > 0.95
    called = detector.predict(digits.test, 0.1)
    assert set(called.tolist()) <= {0, 1}
    assert (called == (detector.p_value(digits.test) <= 0.1)).all()
    assert called.mean() < 0.35
    assert detector.discover(noise).mean() > 0.5


@pytest.mark.parametrize(
    "score", [FUSED, "squared_error", "isolation_forest", "one_class_svm", "latent_neighbours"]
)
def test_save_and_load_give_the_same_bits(trained, digits, tmp_path, score):
    detector = Detector.fit(trained.load_model(), digits, score)
    detector.save(tmp_path / "detector")
    again = Detector.load(tmp_path / "detector", trained.load_model())
    assert not list(tmp_path.rglob("*.pkl"))
    assert np.array_equal(again.score(digits.test), detector.score(digits.test))
    assert again.calibration.threshold(0.1) == detector.calibration.threshold(0.1)
    assert again.name == score


def test_judging_equals_the_detector(trained, digits):
    model = trained.load_model()
    noise = corrupt(digits.test, "uniform_noise")
    names = [FUSED, "squared_error", "latent_mixture", "isolation_forest", "pixel_entropy"]
    assert set(names) <= set(available(model))
    verdicts = judge(model, digits, [noise], scores=names, false_positive_rate=0.1)
    for verdict in verdicts:
        detector = Detector.fit(model, digits, verdict.detector.name)
        assert np.array_equal(verdict.inside, detector.score(digits.test))
        assert np.array_equal(verdict.outside, detector.score(noise))
        row = verdict.row("digits")
        assert row["false_positive_rate_low"] < row["false_positive_rate_high"]


def test_what_a_model_cannot_score_is_refused(digits, noise, vae):
    gan = GAN(digits.shape, 4, width=4)
    assert "squared_error" not in available(gan)
    assert {"unreal", "pixel_sum"} <= set(available(gan))
    for options, message in (
        (
            {"score": "squared_error"},
            "GAN cannot give .*; it has fused, unreal, inversion",
        ),
        ({"score": "square_error"}, "did you mean 'squared_error'"),
    ):
        with pytest.raises(UsageError, match=message):
            Detector.fit(gan, digits, **options)
    with pytest.raises(UsageError, match="train with classes 0"):
        Detector.fit(VAE(digits.shape, 2, width=4, classes=10), digits)
    with pytest.raises(UsageError, match="the model has"):
        Detector.fit(vae(digits.shape), noise)
    few = Splits(digits.train[:9], digits.validation, digits.test)
    with pytest.raises(DataError, match="needs 10 training images"):
        Detector.fit(vae(digits.shape), few)
    with pytest.raises(UsageError, match="at least one out-of-distribution set"):
        judge(gan, digits, [])
    with pytest.raises(UsageError, match="two sets have one name"):
        judge(gan, digits, [digits.test, digits.test], false_positive_rate=0.1)


def test_the_table_says_unit_and_source():
    assert all(score.unit and score.source for score in SCORES.values())


def test_the_command(anogen, noise_file, tmp_path):
    run = tmp_path / "run"
    assert anogen("train", "--data", noise_file, "--epochs", 1, "--model.width", 4,
                  "--model.latent", 2, "--batch_size", 128, "--run", run).code == 0  # fmt: skip
    outcome = anogen("detect", run, "--out", f"{noise_file}+blur", "--fpr", 0.05, "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert [row["score"] for row in result["rows"]] == ["fused", "squared_error"]
    assert {"in_set", "out_set", "score", "auroc", "aupr_out", "aupr_in", "fpr_at_95_tpr",
            "tpr_at_1_fpr", "tpr_at_5_fpr"} <= set(result["rows"][0])  # fmt: skip
    assert {"precision_0", "recall_1", "f1_1"} <= set(result["table2"][0])
    assert (run / "figures" / "scores_fused.png").exists()
    assert (run / "detector" / "fused" / "manifest.json").exists()
    twice = anogen("detect", run, "--out", noise_file, "--out", str(noise_file), "--fpr", 0.05)
    assert twice.code == 2
    assert "two sets have one name" in twice.err
    background = tmp_path / "background"
    assert anogen("train", "--data", f"{noise_file}+mutation=0.3", "--epochs", 1, "--model.width",
                  4, "--model.latent", 2, "--run", background).code == 0  # fmt: skip
    beside = anogen("detect", run, "--out", noise_file, "--fpr", 0.05, "--companion", background,
                    "--score", "likelihood_ratio", "--score", "waic", "--json")  # fmt: skip
    assert beside.code == 0, beside.err
    assert [row["score"] for row in json.loads(beside.out)["rows"]] == ["likelihood_ratio", "waic"]
    kept = json.loads((run / "detection.json").read_text("utf-8"))
    assert [row["score"] for row in kept["rows"]][:2] == ["fused", "squared_error"]
    assert len(kept["rows"]) == len(kept["table2"]) == 4
    html = (run / "report.html").read_text("utf-8")
    assert f"detect NEW_RUN --out {noise_file}+blur --fpr 0.05" in html
    assert html.count("Operating curves") == 2
    assert "trained since" not in html
    assert "Table 2 of the paper" in anogen("detect", run, "--out", noise_file, "--fpr", 0.05).out
    assert anogen("train", "--run", run, "--resume", "--epochs", 2).code == 0
    assert anogen("report", run).code == 0
    assert "the detector below is of older weights" in (run / "report.html").read_text("utf-8")
    assert anogen("detect", run, "--out", noise_file, "--fpr", 0.05).code == 0
    kept = json.loads((run / "detection.json").read_text("utf-8"))
    assert {row["out_set"] for row in kept["rows"]} == {kept["rows"][0]["out_set"]}
    assert "trained since" not in (run / "report.html").read_text("utf-8")
    for arguments, message in (
        (["--out", noise_file, "--fpr", 0.001], "cannot support a false-positive rate"),
        (["--out", noise_file, "--score", "fusd"], "did you mean 'fused'"),
        (["--out", noise_file, "--score", "all", "--score", "fusd"], "did you mean 'fused'"),
        (["--out", noise_file, "--score", "waic"], "--companion RUN"),
        ([], "out"),
    ):
        refused = anogen("detect", run, *arguments)
        assert refused.code == 2
        assert message in refused.err


def test_a_run_s_own_detector_is_made_once(trained, digits, capsys, tmp_path):
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    data = digits.validation

    class Known(Run):
        def load_data(self, data_dir=None):
            return digits

    first = Detector.of_run(Known(run.path), "squared_error")
    assert "calibrating squared_error" in capsys.readouterr().err
    again = Detector.of_run(run, "squared_error")  # its data, limited, cannot be loaded
    assert "calibrating" not in capsys.readouterr().err
    assert np.array_equal(first.score(data), again.score(data))


def test_a_model_s_own_reconstruction_is_scored(digits):
    class Inverted(VAE):
        def reconstruct(self, x, condition=None):
            return 1 - super().reconstruct(x, condition)

    torch.manual_seed(0)
    model = Inverted(digits.shape, latent=2, width=4).eval()
    images = digits.test[:5]
    x = torch.from_numpy(images.pixels).float() / 255
    with torch.no_grad():
        expected = (x - model.reconstruct(x)).square().flatten(1).sum(1)
    found = score_images(model, images, ["squared_error"], CPU, {})[:, 0]
    assert found == pytest.approx(expected.numpy(), rel=1e-5)


def test_a_rate_of_false_discoveries_must_be_a_rate():
    for rate in (0.0, 1.0, 10.0):
        with pytest.raises(UsageError, match="between 0 and 1"):
            discoveries(np.array([0.1]), rate)


def test_images_no_score_learns_from_come_from_all_over_the_data():
    pixels = np.zeros((20_001, 1, 4, 4), np.uint8)
    images = Images(pixels, "sorted", np.arange(20_001) // 2001, tuple("0123456789"))
    unseen = unfitted_images(Splits(images, images[:50], images[:50]))
    assert len(unseen) == 50
    assert set(unseen.labels.tolist()) == set(range(10))


def test_a_score_that_is_nan_gets_no_p_value():
    calibration = Calibration.of(np.arange(99.0))
    for call in (calibration.p_value, lambda s: discoveries(s, 0.1)):
        with pytest.raises(DataError, match="the score of example 1 is NaN"):
            call(np.array([0.5, np.nan]))
    assert calibration.p_value(np.array([np.inf])).tolist() == [0.01]


def test_a_detector_calls_no_nan_in_or_out(trained, digits, monkeypatch):
    detector = Detector.fit(trained.load_model(), digits, "squared_error")
    monkeypatch.setattr(Detector, "score", lambda self, images: np.full(len(images), np.nan))
    for call in (lambda images: detector.predict(images, 0.1), detector.p_value, detector.discover):
        with pytest.raises(DataError, match="NaN"):
            call(digits.test)


def test_comparing_needs_scores_of_both_kinds():
    some, none = np.arange(5.0), np.array([])
    for pair in ((some, none), (none, some)):
        for measure in (separation, intervals):
            with pytest.raises(DataError, match="both kinds are needed"):
                measure(*pair)
    with pytest.raises(DataError, match="NaN"):
        separation(some, np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="both kinds"):
        precision_recall(np.array([True]), np.array([], bool))


def test_discoveries_step_up():
    """A p-value above its own limit is found where a larger one is below its (Benjamini 1995)."""
    p_values = np.array([0.011, 0.03, 0.029, 0.9])
    assert discoveries(p_values, 0.04).tolist() == [True, True, True, False]


def test_other_companions_make_another_detector(trained, digits, vae, tmp_path, monkeypatch):
    shutil.copytree(trained.path, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    monkeypatch.setattr(Run, "load_data", lambda *_: digits)
    names = [Detector.of_run(run, "waic", companions=[vae(digits.shape, seed=seed).eval()])
             for seed in (1, 2)]  # fmt: skip
    assert not np.array_equal(*(detector.score(digits.test[:20]) for detector in names))
