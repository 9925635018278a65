"""The page as a browser shows it: used as people would, on a screen and on a phone."""

import io
import threading
import time

import numpy as np
import pytest

import anogen
from anogen.serving.app import create_app
from anogen.serving.client import Client
from anogen.serving.gate import Keys
from anogen.serving.processes import listen
from anogen.serving.served import open_all
from anogen.serving.server import Server
from anogen.serving.service import Service
from anogen.serving.settings import Settings
from anogen.serving.store import Store

from ..conftest import CHROMIUM
from .conftest import png

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium to open pages in")


@pytest.fixture(scope="module")
def service(pictures_run, table_run, restoring_run, translating_run, tmp_path_factory):
    """Two services in threads, one of both runs and one with a key: their addresses."""
    addresses, servers = [], []
    all_runs = (pictures_run, table_run, restoring_run, translating_run)
    for runs, keys in ((all_runs, Keys()), ((pictures_run,), Keys.of(["k" * 20]))):
        settings = Settings(grace_s=0.1)
        store = Store.open(tmp_path_factory.mktemp("store") / "s.sqlite")
        own = Service(open_all(runs, settings), settings, store)
        gate = create_app(own, keys)
        gate.log = io.StringIO()
        listening = listen("127.0.0.1", 0)
        addresses.append(f"http://127.0.0.1:{listening.getsockname()[1]}")
        started = threading.Event()
        server = Server(gate, own, started.set)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        assert started.wait(30)
        servers.append((server, thread))
    yield addresses
    for server, thread in servers:
        server.should_exit = True
        thread.join()


@pytest.fixture
def opened(browser):
    """A function that opens an address; afterwards nothing was said and nobody else was asked."""
    contexts, said, asked = [], [], []

    def call(address, width=1280, colours="light", expected=()):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=colours
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: said.append(m.text)
                if not any(each in m.text for each in expected) else None)  # fmt: skip
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        call.address = address
        return page

    yield call
    for context in contexts:
        context.close()
    assert said == []
    others = [url for url in asked if not url.startswith((call.address, "data:", "blob:"))]
    assert others == []


@pytest.fixture
def files(tmp_path, digits_test):
    paths = [tmp_path / "digit.png", tmp_path / "noise.png", tmp_path / "bad <b>.png"]
    paths[0].write_bytes(png(digits_test.pixels[0, 0]))
    paths[1].write_bytes(png(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)))
    paths[2].write_bytes(b"no picture")
    return paths


def too_wide(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.mark.parametrize(("width", "colours"), [(1280, "light"), (375, "dark")])
def test_pictures_are_judged(opened, service, files, width, colours):
    page = opened(service[0], width, colours, expected=("willReadFrequently",))  # the test's own
    page.wait_for_selector("#main:not([hidden])")
    page.set_input_files("#files", files)
    results = page.locator(".result")
    results.nth(2).wait_for()
    assert results.count() == 3
    assert results.nth(0).locator(".verdict").inner_text() == "fits"
    assert "out" in results.nth(1).get_attribute("class")
    assert "not a PNG" in results.nth(2).inner_text()
    assert "bad <b>.png" in results.nth(2).inner_text()
    assert results.nth(0).locator(".near img").count() == 3
    canvas = results.nth(1).locator("canvas")
    page.wait_for_timeout(300)
    coloured = canvas.evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return d.some((v, i) => i % 4 === 0 && v > d[i + 1] + 60); }"
    )
    assert coloured
    page.uncheck("#show-map")
    page.wait_for_timeout(300)
    assert not canvas.evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return d.some((v, i) => i % 4 === 0 && v > d[i + 1] + 60); }"
    )
    assert too_wide(page) <= 0
    text, ground = (page.evaluate(f"getComputedStyle(document.body).{key}")
                    for key in ("color", "backgroundColor"))  # fmt: skip
    assert text != ground


def test_the_threshold_moves_by_keyboard(opened, service, files):
    page = opened(service[0])
    page.wait_for_selector("#main:not([hidden])")
    page.set_input_files("#files", files[:2])
    page.locator(".result").nth(1).wait_for()
    before = page.inner_text("#promise")
    page.focus("#rate")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#promise") == "20 %" != before
    assert "95 %" in page.inner_text("#interval")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert "do not fit" in page.inner_text("#count")


def test_verdicts_are_kept(opened, service, files):
    page = opened(service[0], expected=("404",))
    page.wait_for_selector("#main:not([hidden])")
    page.set_input_files("#files", files[1:2])
    page.locator(".result").first.wait_for()
    end = time.monotonic() + 10
    while page.inner_text(".judge [role=status]") != "kept" and time.monotonic() < end:
        page.click(".judge button:has-text('bad')")  # again: the score is written soon
        page.wait_for_timeout(300)
    assert page.get_attribute(".judge button:has-text('bad')", "aria-pressed") == "true"
    page.wait_for_timeout(300)
    assert "1 were bad" in page.inner_text("#verdicts")


def test_latents_and_samples(opened, service):
    page = opened(service[0])
    page.wait_for_selector("#sliders input")
    page.locator("#drawn[src^='data:image/png']").wait_for()
    before = page.get_attribute("#drawn", "src")
    slider = page.locator("#sliders input").first
    slider.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(800)
    assert page.get_attribute("#drawn", "src") != before
    assert page.inner_text("#sliders output") == "1.5"
    page.click("#random")
    page.click("#sheet")
    page.locator("#samples:not([hidden])").wait_for()
    page.wait_for_timeout(300)
    assert page.evaluate("document.getElementById('samples').naturalWidth") == 140
    page.click("#zero")
    page.wait_for_timeout(500)
    assert page.get_attribute("#drawn", "src") == before


def test_a_table_is_scored_row_by_row(opened, service, tmp_path):
    page = opened(service[0], 375, expected=("422",))
    page.wait_for_selector("#main:not([hidden])")
    page.select_option("#model", "payments")
    file = tmp_path / "new.csv"
    file.write_text(
        "amount,country,when\n20.5,FR,2024-02-01\n9e9,FR,2024-02-01\nmuch,FR,2024-02-01\n"
    )
    page.set_input_files("#files", file)
    page.locator(".result").nth(2).wait_for()
    assert "amount 9e9" in page.locator(".result").nth(1).inner_text()
    assert "cannot be read" in page.locator(".result").nth(2).inner_text()
    assert too_wide(page) <= 0
    page.click("#clear")
    assert page.locator(".result").count() == 0
    page.click("#paste summary")
    page.fill("#row input[name=amount]", "30")
    page.fill("#row input[name=country]", "DE")
    page.fill("#row input[name=when]", "2024-02-03")
    page.click("#send")
    page.locator(".result").first.wait_for()
    file.write_text("other\n1\n")
    page.set_input_files("#files", file)
    page.locator("#trouble:not(:empty)").wait_for()
    assert "is missing" in page.inner_text("#trouble")


def test_a_key_is_asked_for(opened, service, files):
    page = opened(service[1], expected=("401",))
    page.wait_for_selector("#locked:not([hidden])")
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.locator("#refused:not(:empty)").wait_for()
    page.fill("#key", "k" * 20)
    page.keyboard.press("Enter")
    page.wait_for_selector("#main:not([hidden])")
    page.set_input_files("#files", files[:1])
    page.locator(".result").first.wait_for()


@pytest.mark.parametrize("width", [360, 1280])
def test_a_picture_is_restored(service, opened, files, restoring_run, width):
    page = opened(service[0], width, expected=("422",))
    page.select_option("#model", "denoiser")
    assert page.locator("#scoring").is_hidden()
    assert page.locator("#watching").is_hidden()
    page.set_input_files("#damaged", files[1])
    page.wait_for_selector("#restored", state="visible")
    assert page.locator("#save").get_attribute("download") == "noise.png"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    size = page.evaluate("[restored.naturalWidth, restored.naturalHeight]")
    assert size == [28, 28]
    page.set_input_files("#damaged", files[2])
    page.wait_for_selector("#restored-status:has-text('not')")
    assert page.locator("#restored").is_hidden()
    given = np.random.default_rng(0).integers(0, 256, (2, 20, 24), np.uint8)
    found = Client(service[0], model="denoiser").restore(given)
    assert np.array_equal(found, anogen.restore(restoring_run, given).images)


def test_a_picture_is_translated(service, opened, files, translating_run):
    page = opened(service[0], 360)
    page.select_option("#model", "translator")
    assert page.inner_text("#restoring-title") == "Translate a picture"
    assert page.locator("#scoring").is_hidden()
    page.select_option("#to", "digits+inversion")
    page.set_input_files("#damaged", files[1])
    page.wait_for_selector("#restored", state="visible")
    assert page.inner_text("#save").startswith("translated")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.select_option("#model", "denoiser")
    assert page.inner_text("#restoring-title") == "Restore a picture"
    assert page.locator("#to-which").is_hidden()
    given = np.random.default_rng(0).integers(0, 256, (2, 20, 24), np.uint8)
    found = Client(service[0], model="translator").translate(given, "digits+inversion")
    assert np.array_equal(found, anogen.translate(translating_run, given, to=1).images)
