"""Small real data and one trained run for all tests, and the command line as a function."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from anogen import MODELS, VAE, GenerativeModel, Images, Model, Run, Splits, fit, load_data
from anogen.cli.main import main

CHROMIUM = os.environ.get("CHROMIUM", shutil.which("chromium") or shutil.which("chromium-browser"))
"""The browser that pages are opened in, if there is one."""

torch.set_num_threads(1)  # small tensors: threads would only get in one another's way
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start


@pytest.fixture(scope="session")
def digits() -> Splits:
    """300 real digits for training, and the held-out ones."""
    whole = load_data("digits")
    return Splits(whole.train[:300], whole.validation[:60], whole.test[:60], whole.source)


@pytest.fixture(autouse=True)
def learning_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that train a net of their own train a small one briefly, and few patches are kept."""
    monkeypatch.setattr("anogen.detection.features.learnt.STEPS", 8)
    monkeypatch.setattr("anogen.nets.segmenter.WIDTH", 4)
    monkeypatch.setattr("anogen.detection.scores.local.PATCHES", 5_000)
    monkeypatch.setattr("anogen.detection.scores.local.MEMORY", 300)


@pytest.fixture
def noise() -> Splits:
    """Random grey images of 16×16: the fastest thing to train on."""
    pixels = np.random.default_rng(0).integers(0, 256, (160, 1, 16, 16), np.uint8)
    images = Images(pixels, "noise")
    return Splits(images[:96], images[96:128], images[128:])


@pytest.fixture
def noise_file(tmp_path: Path) -> Path:
    """600 random images in an `.npz` file, for the command line."""
    pixels = np.random.default_rng(1).integers(0, 256, (600, 16, 16), np.uint8)
    path = tmp_path / "noise.npz"
    np.savez(path, images=pixels)
    return path


def small_vae(shape: tuple[int, int, int], seed: int = 0, **arguments: object) -> VAE:
    """A VAE of a few hundred weights, the same for the same seed."""
    torch.manual_seed(seed)
    return VAE(shape, **({"latent": 2, "width": 4} | arguments))  # type: ignore[arg-type]


GENERATIVE = [name for name, kind in MODELS.items() if issubclass(kind, GenerativeModel)]
"""The models that make new images."""


def for_model(name: str, data: Splits) -> Splits:
    """The data, with two domains where the model needs them."""
    if name != "Translator":
        return data
    parts = {
        part: replace(
            images, labels=np.arange(len(images), dtype=np.int64) % 2, classes=("even", "odd")
        )
        for part, images in vars(data).items()
        if part in ("train", "validation", "test")
    }
    return replace(data, **parts)


def small_model(name: str, shape: tuple[int, int, int], latent: int = 3, width: int = 4) -> Model:
    """Any model of the table, with few weights."""
    latents = {"latent": latent} if name in GENERATIVE else {}
    latents = {"code": latent} if name == "Translator" else latents
    return MODELS[name](shape, width=width, **latents)  # type: ignore[arg-type]


@pytest.fixture
def vae() -> Callable[..., VAE]:
    return small_vae


@pytest.fixture(scope="session")
def trained(digits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of four epochs on digits; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    return fit(small_vae(digits.shape), digits, folder, epochs=4, batch_size=30, learning_rate=3e-3)


class Outcome(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def anogen(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`anogen("train", "--run", path)` in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse's --help
            code = int(leaving.code or 0)
        return Outcome(code, *capsys.readouterr())

    return call


def one_line(outcome: Outcome) -> bool:
    """Whether a refusal is one clear line and no traceback."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("anogen ")]
    return len(lines) == 1 and "Traceback" not in outcome.err


@pytest.fixture(scope="module")
def browser():
    """Chromium, for tests that are skipped where there is none."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
