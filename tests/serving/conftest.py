"""Two runs to serve, one of pictures and one of a table, and a client within the process."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from starlette.testclient import TestClient

from anogen import Images, load
from anogen.cli.main import main
from anogen.serving.app import create_app
from anogen.serving.gate import Keys
from anogen.serving.served import open_all
from anogen.serving.service import Service
from anogen.serving.settings import Settings
from anogen.serving.store import Store

SMALL = ["--model.latent", "2", "--model.width", "4", "--epochs", "1"]


@pytest.fixture(scope="session")
def pictures_run(tmp_path_factory) -> Path:
    """A run of digits, with its detector; tests must not change it."""
    run = tmp_path_factory.mktemp("served") / "digits"
    assert main(["train", "--data", "digits", "--run", str(run), *SMALL]) == 0
    assert load(run).detector.name == "fused"
    return run


@pytest.fixture(scope="session")
def restoring_run(tmp_path_factory) -> Path:
    """A run of a net that has learnt a little to restore."""
    run = tmp_path_factory.mktemp("served") / "denoiser"
    assert (
        main(
            [
                "train",
                "--model",
                "Restorer",
                "--corruption",
                "gaussian_noise=0.2+holes=0.1",
                "--model.width",
                "4",
                "--data",
                "digits",
                "--epochs",
                "1",
                "--run",
                str(run),
            ]
        )
        == 0
    )
    return run


@pytest.fixture(scope="session")
def translating_run(tmp_path_factory) -> Path:
    """A run of a net that has learnt a little to translate."""
    run = tmp_path_factory.mktemp("served") / "translator"
    call = ["train", "--model", "Translator", "--model.width", "4", "--limit", "200", "--epochs",
            "1", "--data", "digits,digits+inversion", "--run", str(run)]  # fmt: skip
    assert main(call) == 0
    return run


@pytest.fixture(scope="session")
def rows() -> pandas.DataFrame:
    generator = np.random.default_rng(0)
    return pandas.DataFrame({
        "amount": generator.lognormal(3, 1, 600).round(2),
        "country": generator.choice(["FR", "DE", "US"], 600),
        "when": pandas.Timestamp("2024-01-01")
        + pandas.to_timedelta(generator.integers(0, 5_000_000, 600), unit="s"),
    })  # fmt: skip


@pytest.fixture(scope="session")
def table_run(tmp_path_factory, rows) -> Path:
    folder = tmp_path_factory.mktemp("table")
    rows.to_csv(folder / "payments.csv", index=False)
    run = folder / "payments"
    assert main(["train", "--data", str(folder / "payments.csv"), "--run", str(run), *SMALL]) == 0
    assert load(run).detector.name == "fused"
    return run


@pytest.fixture(scope="session")
def digits_test(pictures_run) -> Images:
    return load(pictures_run).run.load_data().test


@pytest.fixture
def serving() -> Callable[..., Any]:
    """`with serving(run, ...) as client` for a service in this process."""

    @contextmanager
    def serve(
        *runs: Path, keys: Keys | None = None, store: Store | None = None, local: bool = False,
        log: Any = None, **limits: Any,
    ) -> Iterator[TestClient]:  # fmt: skip
        settings = Settings(**limits)
        service = Service(open_all(runs, settings), settings, store)
        gate = create_app(service, keys, local)
        gate.log = log if log is not None else io.StringIO()
        with TestClient(gate, raise_server_exceptions=False) as client:
            client.service = service
            yield client

    return serve


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def lines_of(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]
