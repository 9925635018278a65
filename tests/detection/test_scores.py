"""Each score against its definition, or against the library that knows it."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import SGDOneClassSVM
from sklearn.neighbors import NearestNeighbors

from anogen import GAN, NCPVAE, SCORES, VAE, VAEGAN, Detector, corrupt
from anogen.detection.density import Density
from anogen.detection.detector import StaleDetectorError
from anogen.detection.scores import fit_scores, fused, score_images, surprises
from anogen.detection.scores.likelihood import DRAWS, fixed_noise
from anogen.detection.scores.pixels import SVM_FEATURES, SVM_NU, TREES
from anogen.detection.view import Score
from anogen.errors import UsageError
from anogen.models.terms import squared_error

CPU = torch.device("cpu")


@pytest.fixture
def one(digits, vae):
    return vae(digits.shape, latent=3).eval()


def scored(model, images, name, train=None, companions=()):
    states = {} if train is None else fit_scores(model, train, [name], CPU)
    return score_images(model, images, [name], CPU, states, companions)[:, 0]


def tensor(images):
    return torch.from_numpy(images.pixels / np.float32(255))


@torch.no_grad()
def bound(model, images):
    return model.elbo(tensor(images), noise=fixed_noise(DRAWS, model.latent, CPU)).double().numpy()


def test_the_fixed_noise_is_antithetic_and_standard():
    noise = fixed_noise(2000, 3, CPU)
    assert torch.equal(noise[:1000], -noise[1000:])
    assert noise.std(0) == pytest.approx(1, abs=0.06)


def test_negative_elbo_is_the_mean_of_many_draws(one, digits):
    some = digits.test[:20]
    with torch.no_grad():
        torch.manual_seed(0)
        draws = torch.stack([-one.elbo(tensor(some)) for _ in range(300)]).mean(0)
    assert scored(one, some, "negative_elbo") == pytest.approx(draws.numpy(), rel=0.02)


def test_importance_weighting_tightens_the_bound(one, digits):
    weighted = scored(one, digits.test, "importance_weighted")
    assert (weighted.mean() <= scored(one, digits.test, "negative_elbo").mean()).all()


def test_typicality_is_two_sided(one, digits):
    found = scored(one, digits.test, "typicality", digits.train)
    expected = np.abs(-bound(one, digits.test) + bound(one, digits.train).mean())
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-2)


def test_ratio_and_waic_are_of_the_companions(one, digits, vae):
    other = vae(digits.shape, seed=1, latent=3).eval()
    a, b = bound(one, digits.test), bound(other, digits.test)
    ratio = scored(one, digits.test, "likelihood_ratio", companions=[other])
    assert ratio == pytest.approx(b - a, abs=1e-2)
    waic = scored(one, digits.test, "waic", companions=[other])
    assert waic == pytest.approx((a - b) ** 2 / 4 - (a + b) / 2, rel=1e-3)
    with pytest.raises(UsageError, match="compares with another model"):
        Detector.fit(one, digits, "waic")


def test_regret_is_what_fitting_the_posterior_gains(noise, vae):
    model = vae(noise.shape, width=2).eval()
    found = scored(model, noise.test[:8], "regret")
    assert (found > 0).all()  # an untrained encoder leaves much to gain
    assert (found < -bound(model, noise.test[:8])).all()


def test_complexity_is_taken_off_the_bound(one, digits):
    corrected = scored(one, digits.test, "complexity_corrected")
    sizes = scored(one, digits.test, "compressed_size")
    expected = scored(one, digits.test, "negative_elbo") - 8 * np.log(2) * sizes
    assert corrected == pytest.approx(expected, rel=1e-3)


def test_latent_scores_agree_with_their_libraries(one, digits):
    with torch.no_grad():
        known, new = (
            one.posterior_mean(tensor(part)).double().numpy()
            for part in (digits.train, digits.test)
        )
    far = NearestNeighbors(n_neighbors=5).fit(known).kneighbors(new)[0][:, -1]
    found = scored(one, digits.test, "latent_neighbours", digits.train)
    assert found == pytest.approx(far, rel=1e-3, abs=1e-4)
    centred = new - known.mean(0)
    inverse = np.linalg.inv(np.cov(known.T, bias=True) + 1e-4 * np.diag(known.var(0)))
    distance = np.sqrt(np.einsum("ni,ij,nj->n", centred, inverse, centred))
    found = scored(one, digits.test, "latent_mahalanobis", digits.train)
    assert found == pytest.approx(distance, rel=1e-2)
    mixture = scored(one, digits.test, "latent_mixture", digits.train)
    assert np.corrcoef(mixture, distance)[0, 1] > 0.5


def test_baselines_agree_with_scikit_learn(one, digits):
    known, new = (tensor(part).flatten(1).double().numpy() for part in (digits.train, digits.test))
    nearest = ((new[:, None] - known) ** 2).sum(2).min(1)
    assert scored(one, digits.test, "nearest_pixels", digits.train) == pytest.approx(nearest)
    mean = ((new - known.mean(0)) ** 2).sum(1)
    assert scored(one, digits.test, "mean_distance", digits.train) == pytest.approx(mean, rel=1e-5)
    pca = PCA(0.95, svd_solver="full").fit(known)
    error = ((new - pca.inverse_transform(pca.transform(new))) ** 2).sum(1)
    found = scored(one, digits.test, "principal_error", digits.train)
    assert found == pytest.approx(error, rel=1e-3)
    forest = IsolationForest(n_estimators=TREES, random_state=0).fit(known.astype(np.float32))
    found = scored(one, digits.test, "isolation_forest", digits.train)
    assert found == pytest.approx(-forest.score_samples(new.astype(np.float32)), rel=1e-9)
    gamma = 1 / (known.shape[1] * known.var())
    kernel = Nystroem(gamma=gamma, n_components=min(SVM_FEATURES, len(known)), random_state=0)
    machine = SGDOneClassSVM(nu=SVM_NU, random_state=0, average=True)
    machine.fit(kernel.fit_transform(known))
    decision = machine.decision_function(kernel.transform(new)) + machine.offset_
    found = scored(one, digits.test, "one_class_svm", digits.train)
    assert found == pytest.approx(-decision, rel=1e-3, abs=1e-4)


def test_inversion_finds_images_of_the_generator_again(digits):
    torch.manual_seed(0)
    gan = GAN(digits.shape, 3, width=4).eval()
    with torch.no_grad():
        for weight in gan.generator.parameters():
            weight.mul_(3)  # an untrained generator's images hardly differ
        made = gan.sample(4, torch.Generator().manual_seed(5))
    own = type(digits.test)((made * 255).round().to(torch.uint8).numpy(), "own")
    found = scored(gan, own, "inversion")
    random = squared_error(made, made.roll(1, 0)).numpy()
    assert (found < 0.5 * random).all()
    assert found.mean() < scored(gan, digits.test[:4], "inversion").mean()


def test_the_discriminator_s_features_are_compared(digits):
    torch.manual_seed(0)
    model = VAEGAN(digits.shape, 3, width=4).eval()
    found = scored(model, digits.test, "discriminator_error")
    x = tensor(digits.test)
    with torch.no_grad():
        a, b = (model.discriminator.features(v) for v in (x, model.reconstruct(x)))
    expected = sum((p - q).square().flatten(1).mean(1) for p, q in zip(a, b, strict=True))
    assert found == pytest.approx(expected.numpy(), rel=1e-3)


def test_the_contrastive_prior_tells_noise(digits):
    torch.manual_seed(0)
    model = NCPVAE(digits.shape, latent=2, width=8, contrast_noise=0.4)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    x = tensor(digits.train)
    for step in range(60):
        optimizer.zero_grad()
        model.losses(x[step % 5 :: 5], step).players["vae"].backward()
        optimizer.step()
    noise = corrupt(digits.test, "gaussian_noise=0.5")
    inside, outside = (scored(model.eval(), part, "contrast") for part in (digits.test, noise))
    assert np.median(outside) > np.quantile(inside, 0.9)

    class Mine(NCPVAE):
        pass

    assert Mine(digits.shape, beta=2.0).arguments["likelihood"] == "squared_error"
    again = NCPVAE(**model.arguments)
    assert again.arguments == model.arguments
    assert again.contrast_width == 3.0
    assert not SCORES["contrast"].fits(VAE(digits.shape, 2, width=4))
    with pytest.raises(UsageError, match="contrast_width more than 1"):
        NCPVAE(digits.shape, contrast_width=1.0)


def test_a_density_without_one_number_is_the_marginal():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.3], [0, 0, 1]])
    whole = Density.fit(rows, components=1)
    marginal = Density.fit(rows[:, [0, 2]], components=1)
    points = rng.normal(size=(20, 3))
    found = whole.without(1).surprise(points[:, [0, 2]])
    assert found == pytest.approx(marginal.surprise(points[:, [0, 2]]), rel=1e-3)


def test_a_detector_is_for_its_weights_and_version_alone(one, digits, vae, tmp_path, monkeypatch):
    Detector.fit(one, digits).save(tmp_path / "fused")
    Detector.load(tmp_path / "fused", one)
    with pytest.raises(StaleDetectorError, match="other weights"):
        Detector.load(tmp_path / "fused", vae(digits.shape, seed=1, latent=3))
    monkeypatch.delitem(SCORES, "pixel_sum")
    with pytest.raises(StaleDetectorError, match="other statistics"):
        Detector.load(tmp_path / "fused", one)
    monkeypatch.setattr("anogen.detection.detector.FORMAT", 99)
    with pytest.raises(StaleDetectorError, match="another version"):
        Detector.load(tmp_path / "fused", one)


def test_a_strange_calibration_set_is_noticed(one, digits, capsys, monkeypatch):
    monkeypatch.setattr("anogen.detection.fitting.FITTED_IMAGES", 150)
    strange = corrupt(digits.validation, "inversion")
    for score in ("pixel_sum", "nearest_pixels"):
        Detector.fit(one, type(digits)(digits.train, strange, digits.test), score)
        assert "do not look like the training images" in capsys.readouterr().err
        Detector.fit(one, digits, score)
        assert "warning" not in capsys.readouterr().err


def test_companions_must_fit(one, digits, vae):
    for other in (GAN(digits.shape, 3, width=4), vae((1, 32, 32)), vae(digits.shape, classes=10)):
        with pytest.raises(UsageError, match=r"a companion must have|conditional"):
            Detector.fit(one, digits, "waic", companions=[other])


def test_latent_norm_is_the_squared_length_of_the_posterior_mean(one, digits):
    with torch.no_grad():
        expected = one.posterior_mean(tensor(digits.test)).square().sum(1).numpy()
    assert scored(one, digits.test, "latent_norm") == pytest.approx(expected, rel=1e-4)


def test_regret_is_the_best_of_all_steps(noise, vae, monkeypatch):
    """A search that overshoots ends worse than it began; what it gained on the way counts."""
    monkeypatch.setattr("anogen.detection.scores.likelihood.REGRET_RATE", 5.0)
    model = vae(noise.shape, width=2).eval()
    assert (scored(model, noise.test[:8], "regret") >= 0).all()


def test_the_fused_score_learns_statistics_and_density_from_two_halves(digits, vae, monkeypatch):
    seen = {"statistic": [], "density": []}

    def learn(model, images, device):
        seen["statistic"].append(images.pixels[:])
        return {"mean": torch.zeros(1)}

    def value(view, state):
        seen["density"].append(view.x)
        return view.x.flatten(1).sum(1)

    table = {"sum": Score(value, (), "1", "a test", fit=learn, fused="pictures")}
    model, train = vae(digits.shape).eval(), digits.train[:80]
    for module in (fused, surprises):
        monkeypatch.setattr(module, "all_scores", lambda: table)
    learn_all = fused.FUSED_SCORES[fused.FUSED].fit
    assert learn_all is not None
    learn_all(model, train, CPU)
    (known,) = seen["statistic"]
    assert np.array_equal(known, train.pixels[::2])
    measured = torch.cat(seen["density"])
    rest = tensor(train[np.arange(1, 80, 2)])
    assert torch.equal(measured[:40], rest)
    few = train[:20]
    learn_all(model, few, CPU)
    assert np.array_equal(seen["statistic"][-1], few.pixels)


def test_a_discriminator_is_one_whose_layers_can_be_read(digits):
    class Named(VAE):
        discriminator = "not a net at all"

    score = SCORES["discriminator_error"]
    assert not score.fits(Named(digits.shape, 2, width=4))
    assert score.fits(VAEGAN(digits.shape, 2, width=4))
    assert not score.fits(VAE(digits.shape, 2, width=4))


def test_scores_for_tables_are_for_tables_only(digits):
    picture, table = VAE(digits.shape, 2, width=4), VAE((1, 1, 7), 2, width=4)
    assert not SCORES["row_neighbours"].fits(picture)
    assert SCORES["row_neighbours"].fits(table)
    assert SCORES["pixel_entropy"].fits(picture)
    assert not SCORES["pixel_entropy"].fits(table)
