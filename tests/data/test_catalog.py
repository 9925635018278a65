import gzip
import hashlib
import http.server
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anogen import load_data
from anogen.data import catalog, datasets
from anogen.errors import DataError, UsageError

from .test_idx import idx_bytes


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A small MNIST on a server of our own; yields its files, the first mirror is dead."""
    rng = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 120), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx_bytes(images))
        labels = rng.integers(0, 10, count, np.uint8)
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(labels))
    served = dict(files)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = served.get(self.path.rsplit("/", 1)[-1], b"")
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    source = replace(datasets.MNIST, mirrors=("http://127.0.0.1:9/", address), md5=md5)
    monkeypatch.setitem(datasets.DATASETS, "mnist", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(catalog.DATA_DIR_VARIABLE, raising=False)
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def test_missing_data_is_downloaded_once_from_a_mirror_that_answers(mirror):
    data = load_data("mnist")
    assert (len(data.train), len(data.validation), len(data.test)) == (110, 10, 20)
    mirror.clear()
    assert load_data("mnist").train.sha256 == data.train.sha256


def test_a_wrong_download_leaves_no_file(mirror, tmp_path):
    mirror["t10k-images-idx3-ubyte.gz"] = b"<html>not what you asked for</html>"
    with pytest.raises(DataError, match=r"place it by hand as .*t10k-images-idx3-ubyte.gz"):
        load_data("mnist")
    folder = tmp_path / "cache" / "anogen" / "mnist"
    assert not (folder / "t10k-images-idx3-ubyte.gz").exists()
    assert not [path for path in folder.iterdir() if not path.name.startswith("train")]


def test_auto_falls_back_to_digits_and_says_so(mirror, capsys):
    mirror.clear()
    assert load_data("auto").name == "digits"
    assert "using scikit-learn's bundled digits instead of MNIST" in capsys.readouterr().err


def test_the_variable_and_the_argument_name_the_folder(mirror, tmp_path, monkeypatch):
    folder = tmp_path / "mine" / "mnist"
    folder.mkdir(parents=True)
    for name, content in mirror.items():
        (folder / name).write_bytes(content)
    mirror.clear()
    assert len(load_data("mnist", data_dir=tmp_path / "mine").test) == 20
    monkeypatch.setenv(catalog.DATA_DIR_VARIABLE, str(tmp_path / "mine"))
    assert load_data("auto").name == "mnist"
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"damaged")
    assert catalog.damaged_files("mnist", folder) == ["t10k-images-idx3-ubyte.gz"]
    with pytest.raises(DataError, match="is not the published file of mnist"):
        load_data("mnist")
    for name in ("auto", "mnist", "digits"):
        with pytest.raises(DataError, match="there is no such folder"):
            load_data(name, data_dir=tmp_path / "absent")


def test_unzipped_files_serve_as_well(mirror, tmp_path):
    folder = tmp_path / "mine" / "mnist"
    folder.mkdir(parents=True)
    for name, content in mirror.items():
        (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
    mirror.clear()
    data = load_data("mnist", data_dir=tmp_path / "mine")
    assert len(data.test) == 20
    assert data.test.labels is not None
    assert load_data(**data.source).train.sha256 == data.train.sha256


def test_mnist_itself():
    if catalog.find("mnist") is None:
        pytest.skip("MNIST is not on this machine")
    data = load_data("mnist")
    assert (len(data.train), len(data.validation), len(data.test)) == (55_000, 5_000, 10_000)
    assert data.shape == (1, 28, 28)
    assert data.test.labels is not None
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_digits_need_no_network():
    data = load_data("digits")
    assert data.shape == (1, 28, 28)
    assert data.train.pixels.max() == 255
    assert sorted(set(data.train.labels.tolist())) == list(range(10))


def test_unknown_names(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'fashion-mnist'"):
        load_data("fashon-mnist")
    with pytest.raises(DataError, match="no such file or folder"):
        load_data("some/where")
    with pytest.raises(UsageError, match="did you mean 'blur'"):
        load_data("digits+blurr")
    with pytest.raises(UsageError, match="folders of pictures only"):
        load_data("digits", image_size=32)


def test_transformations_follow_a_name_and_a_path_wins(tmp_path):
    plain, changed = load_data("digits"), load_data("digits+inversion+constant=0.5")
    assert changed.name == "digits+inversion+constant=0.5"
    assert set(np.unique(changed.test.pixels)) == {128}
    assert np.array_equal(load_data("digits+inversion").test.pixels, 255 - plain.test.pixels)
    path = tmp_path / "a+blur.npy"
    np.save(path, np.zeros((20, 16, 16), np.uint8))
    assert load_data(path).name == "a+blur"
    assert load_data(f"{path}+inversion").test.pixels.min() == 255


def test_the_source_loads_the_same_again(tmp_path):
    path = Path(tmp_path / "x.npy")
    np.save(path, np.random.default_rng(0).integers(0, 255, (20, 16, 16), np.uint8))
    data = load_data(f"{path}+blur")
    assert load_data(**data.source).train.sha256 == data.train.sha256
