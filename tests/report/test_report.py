import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from anogen import (
    GAN,
    VAEGAN,
    Images,
    Run,
    StyleGAN,
    evaluate,
    evaluate_generation,
    fit,
    images_from_array,
    split,
)
from anogen.errors import MachineError, UsageError
from anogen.report import figures
from anogen.report.gallery import keep_pictures, kept_pictures
from anogen.report.history import samples_by_epoch, training_curves
from anogen.report.page import write_page
from anogen.report.pictures import PICTURES, all_pictures, picture


class Checker(HTMLParser):
    """Notes images without a text alternative, and everything that leaves the file."""

    def __init__(self) -> None:
        super().__init__()
        self.without_text, self.outside, self.images, self.scripts = 0, [], 0, 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.scripts += tag == "script"
        if tag == "img":
            self.images += 1
            self.without_text += not found.get("alt")
        for name in ("src", "href"):
            if name in found and not found[name].startswith("data:"):
                self.outside.append(found[name])


OF_OTHERS = {"style_mixing", "truncation", "restorations", "translations", "captions"}
"""Pictures of models that have styles, learn to restore, translate, or take texts."""


def _page(run, result, pictures):
    run.write_json("evaluation.json", result)
    keep_pictures(pictures, run.figures, "evaluation")
    return write_page(run)


def test_every_picture_of_a_trained_model(trained, digits, tmp_path):
    made = keep_pictures(all_pictures(trained.load_model(), digits.test), tmp_path, "all")
    assert {entry.name for entry in made} == set(PICTURES) - OF_OTHERS
    for entry in made:
        with Image.open(tmp_path / f"{entry.name}.png") as image:
            assert min(image.size) > 100
            assert len(image.convert("L").getcolors()) > 20, "an empty picture"


def test_pictures_are_the_same_bytes_again(trained, digits, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        made = picture("samples", trained.load_model(), digits.test)
        keep_pictures([made], tmp_path / name, "all")
    assert (tmp_path / "a/samples.png").read_bytes() == (tmp_path / "b/samples.png").read_bytes()


def test_colour_images_of_odd_sizes_without_labels(vae, tmp_path):
    images = images_from_array(np.random.default_rng(0).random((4, 17, 22, 3)))
    made = {entry.name for entry in all_pictures(vae((3, 17, 22), latent=5), images)}
    assert made == set(PICTURES) - OF_OTHERS


def test_a_picture_that_the_model_cannot_make_is_refused(vae, noise):
    with pytest.raises(UsageError, match="cannot make the picture 'latent_grid'"):
        picture("latent_grid", vae(noise.shape, latent=1), noise.test)


def test_a_mosaic_shows_every_pixel(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 1, 16, 16), np.uint8)
    figure = figures.mosaic(images, scale=2)
    figures.save(figure, tmp_path / "mosaic.png")
    with Image.open(tmp_path / "mosaic.png") as image:
        shown = np.asarray(image)[..., 0]
    cell = shown[4 : 4 + 32 : 2, 4 : 4 + 32 : 2]
    assert np.array_equal(cell, images[0, 0, 0])


def test_curves_compare_train_and_held_out(trained):
    made = training_curves(trained.metrics)
    assert [entry.name for entry in made] == ["loss_vae_curve", "sampled_squared_error_curve"]
    lines = made[1].figure.axes[0].lines
    expected = [row["validation_sampled_squared_error"] for row in trained.metrics]
    assert list(lines[1].get_ydata()) == expected


def test_the_page_stands_alone_and_escapes_what_users_name(vae, digits, tmp_path):
    evil = "<script>alert(1)</script>"
    images = Images(digits.train.pixels[:60], evil, np.zeros(60, np.int64), (evil,))
    data = split(images)
    run = fit(vae(data.shape), data, tmp_path / "a <b> & ü", epochs=1, batch_size=16)
    model = run.load_model()
    result = evaluate(model, data.test, importance_samples=2)
    pictures = [*training_curves(run.metrics), *all_pictures(model, data.test)]
    html = _page(run, result, pictures).read_text("utf-8")
    page = Checker()
    page.feed(html)
    assert evil not in html
    assert (page.scripts, page.without_text, page.outside) == (0, 0, [])
    assert page.images == len(pictures)
    assert f"{result['squared_error']:#.4g}" in html
    assert len(html) < 5_000_000
    assert not re.search(r"https?://", re.sub(r"base64,[^\"]+", "", html))


@pytest.mark.parametrize(("name", "shown"), [("mnist", True), ("digits", False)])
@pytest.mark.parametrize("rows", ["", '{"epoch": 7, "step": 70, "elapsed_s": 3.0}\n'])
def test_the_paper_is_shown_beside_mnist_only(trained, digits, tmp_path, name, shown, rows):
    run = Run(tmp_path / "run")
    shutil.copytree(trained.path, run.path)
    (run.path / "metrics.jsonl").write_text(rows)  # also a run that was stopped in its first epoch
    environment = trained.environment
    environment["data"]["name"] = name
    run.write_json("environment.json", environment)
    result = evaluate(trained.load_model(), digits.test, likelihood_images=0)
    html = _page(run, result, []).read_text("utf-8")
    assert ("73.08 %" in html) == shown


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_test_images(vae, noise, count):
    model = vae(noise.shape, latent=3)
    assert "samples" in {made.name for made in all_pictures(model, noise.test[:count])}
    result = evaluate(model, noise.test[:count], importance_samples=1)
    json.dumps(result, allow_nan=False)


def test_styles_have_pictures_of_their_own(noise):
    torch.manual_seed(0)
    model = StyleGAN(noise.shape, 4, style=8, width=4)
    model.mean_style.normal_()
    made = {entry.name: entry for entry in all_pictures(model, noise.test)}
    assert {"samples", "latent_grid", "style_mixing", "truncation"} == set(made)


def test_samples_of_chosen_epochs_become_one_picture(noise, tmp_path):
    torch.manual_seed(0)
    run = fit(GAN(noise.shape, 4, width=4), noise, tmp_path / "run", epochs=12, batch_size=48)
    (made,) = samples_by_epoch(run)
    labels = [text.get_text() for text in made.figure.axes[0].texts]
    assert (labels[0], labels[-1]) == ("epoch 1", "epoch 12")
    assert len(labels) <= 8
    assert samples_by_epoch(Run(tmp_path)) == []


def test_a_model_without_likelihood_or_encoder_has_its_page_too(noise, tmp_path):
    for model in (GAN(noise.shape, 4, width=4), VAEGAN(noise.shape, 4, width=4)):
        run = fit(model, noise, tmp_path / type(model).__name__, epochs=1, batch_size=16)
        result = evaluate(model, noise.test) | evaluate_generation(model, noise, samples=5)
        pictures = [*training_curves(run.metrics), *all_pictures(model, noise.test)]
        html = _page(run, result, pictures).read_text("utf-8")
        assert "loss_discriminator_curve" in {made.name for made in pictures}
        assert "sharpness of samples" in html


def test_a_figure_that_cannot_be_written_is_one_clear_error(trained, digits, tmp_path):
    (tmp_path / "figures").touch()
    with pytest.raises(MachineError, match="figures: cannot be made"):
        _ = Run(tmp_path).figures
    made = picture("samples", trained.load_model(), digits.test)
    with pytest.raises(MachineError, match="cannot be written"):
        keep_pictures([made], tmp_path / "absent", "all")


def test_the_command_report_has_all_that_was_measured(anogen, noise_file, tmp_path):
    run = tmp_path / "run"
    anogen("train", "--data", noise_file, "--run", run, "--model.width", 4, "--epochs", 1)
    assert anogen("report", run).code == 0  # measures first
    assert (run / "evaluation.json").is_file()
    assert "As a detector" not in (run / "report.html").read_text("utf-8")
    other = f"{noise_file}+blur"
    found = anogen("detect", run, "--out", other, "--fpr", 0.1, "--score", "squared_error")
    assert found.code == 0
    (run / "report.html").unlink()
    outcome = anogen("report", run)
    assert outcome.out.strip() == str(run / "report.html")
    html = (run / "report.html").read_text("utf-8")
    row = json.loads((run / "detection.json").read_text())["rows"][0]
    assert f"{row['auroc']:.4f}" in html
    assert "squared error per image" in html
    kept = [p for kind in ("evaluation", "detection") for p in kept_pictures(run / "figures", kind)]
    assert html.count("<img") == len(kept)
    assert {p.name.split("_")[0] for p in kept} >= {"reconstructions", "scores", "operating"}


def test_a_page_of_nothing_is_refused(trained, tmp_path):
    run = Run(tmp_path / "run")
    shutil.copytree(trained.path, run.path)
    with pytest.raises(UsageError, match="nothing was measured yet"):
        write_page(run)
