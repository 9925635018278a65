"""The pages as a browser shows them: nothing leaves the file, nothing overflows, all is escaped."""

import re

import numpy as np
import pytest

from anogen import Run
from anogen.evaluation import features as features_module
from anogen.experiments import measure as measuring
from anogen.experiments import reproduce as module
from anogen.experiments.compare import compare
from anogen.experiments.compare_page import write_comparison
from anogen.experiments.reproduce import reproduce

from ..conftest import CHROMIUM

EVIL = "<script>document.title='run'</script>"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium to open pages in")


@pytest.fixture(scope="module")
def pages(tmp_path_factory, digits):
    """A run's page, a comparison's and the paper's, in folders with names that try to run."""
    from anogen.cli.main import main

    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(features_module, "MIN_STEPS", 20)
        patch.setattr(module, "SAMPLES", 60)
        patch.setattr(measuring, "MIDPOINTS", 40)
        for each in (module, measuring):
            patch.setattr(each, "DETECTION_SCORES", ("squared_error", "fused", "nearest_pixels"))
        source = folder / "<b>data.npz"
        pixels = np.random.default_rng(0).integers(0, 256, (300, 16, 16), np.uint8)
        labels = np.array([EVIL, "other"])[np.arange(300) % 2]
        np.savez(source, images=pixels, labels=labels)
        run = folder / f"a {EVIL[:20].replace('/', '')}"
        options = ["--model.width", "4", "--epochs", "1"]
        assert main(["train", "--data", str(source), "--run", str(run), *options]) == 0
        assert main(["evaluate", str(run), "--samples", "20"]) == 0
        blur = f"{source}+blur"
        assert main(["detect", str(run), "--out", blur, "--fpr", "0.1"]) == 0
        reproduce(folder / "<i>out", data="digits", epochs=1, limit=800, systems=["vae", "vaegan"])
        write_comparison(compare([Run.open(run)], samples=20), folder / "compared")
    return {
        "run": run / "report.html",
        "paper": folder / "<i>out" / "report.html",
        "comparison": folder / "compared" / "comparison.html",
    }


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", ["run", "paper", "comparison"])
def test_a_page(browser, pages, name, colours, width):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=colours)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    page.wait_for_load_state("networkidle")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page.url]
    assert page.title() != "run"
    assert page.locator("script").count() == 0
    assert not {"<b>data", "<i>out"} & set(re.findall(r"<[bi]>(?:data|out)", page.content()))
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{wide} pixels too wide"
    images = page.locator("img")
    assert images.count() >= 2
    for picture in images.all():
        assert picture.evaluate("i => i.complete && i.naturalWidth > 50")
        assert picture.get_attribute("alt")
    text, ground = (
        page.evaluate(f"getComputedStyle(document.body).{key}")
        for key in ("color", "backgroundColor")
    )
    assert text != ground
    context.close()
