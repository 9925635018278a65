"""`anogen watch` and `anogen refresh`: from the shell, with good input and with bad."""

import json
import shutil

import numpy as np
import pytest

from anogen import Detector, Images, Run, load
from anogen.detection.refresh import approved, keep_approved, with_approved, with_more
from anogen.errors import DataError, MachineError

from ..conftest import one_line


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from anogen.cli.main import main

    folder = tmp_path_factory.mktemp("watched")
    run = folder / "digits"
    assert main(["train", "--data", "digits", "--run", str(run), "--model.latent", "2",
                 "--model.width", "4", "--epochs", "1"]) == 0  # fmt: skip
    test = np.array(load(run).run.load_data().test.pixels[:])
    assert load(run).detector
    usual = test[np.random.default_rng(0).permutation(len(test))]
    noise = np.random.default_rng(0).integers(0, 256, (120, *usual.shape[1:]), np.uint8)
    np.save(folder / "usual.npy", usual)
    np.save(folder / "changed.npy", np.concatenate([usual, noise]))
    return folder


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made / "digits", tmp_path / "digits")
    return tmp_path / "digits"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_scores_that_were_written_are_watched(anogen, run, made, tmp_path, suffix):
    out = tmp_path / f"scores{suffix}"
    assert anogen("score", run, made / "changed.npy", "--out", out).code == 0
    outcome = anogen("watch", run, "--from", out, "--json")
    assert outcome.code == 0, outcome.err
    (stream,) = json.loads(outcome.out)["streams"]
    count = len(np.load(made / "usual.npy"))
    assert stream["seen"] == count + 120
    first = stream["alarms"][0]
    assert first["kind"] == "martingale"
    assert count < first["at"] < count + 40
    page = (run / "watch.html").read_text()
    assert "data:image/png" in page
    assert "p-values are no longer uniform" in page


def test_files_are_scored_and_statistics_named(anogen, run, made):
    calm = anogen("watch", run, made / "usual.npy", "--level", "0.01")
    assert calm.code == 0
    assert "0 alarms" in calm.out
    light = np.load(made / "usual.npy")
    light = np.concatenate([light, *[np.maximum(light, 90)] * 4])
    np.save(run.parent / "light.npy", light)
    outcome = anogen("watch", run, run.parent / "light.npy")
    assert "mean brightness rose" in outcome.out
    assert "contrast fell" in outcome.out


def test_groups_are_watched_apart(anogen, run, made, tmp_path):
    import PIL.Image

    usual = np.load(made / "usual.npy")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(30):
        for camera, pixels in (("a", usual[index, 0]), ("b", 255 - usual[index, 0])):
            PIL.Image.fromarray(pixels).save(folder / f"{camera}_{index:03}.png")
    outcome = anogen("watch", run, folder, "--group", "^[^_]+", "--json")
    found = {s["stream"]: len(s["alarms"]) for s in json.loads(outcome.out)["streams"]}
    assert found["a"] == 0 < found["b"]


def test_a_table_is_watched(anogen, tmp_path):
    import pandas

    generator = np.random.default_rng(0)

    def rows(count: int, shift: float = 0) -> pandas.DataFrame:
        return pandas.DataFrame({"size": generator.normal(shift, 1, count).round(4),
                                 "kind": generator.choice(["x", "y"], count)})  # fmt: skip

    rows(900).to_csv(tmp_path / "train.csv", index=False)
    pandas.concat([rows(600), rows(600, 2)]).to_csv(tmp_path / "new.csv", index=False)
    train = ["--data", tmp_path / "train.csv", "--run", tmp_path / "r", "--model.width", "4"]
    assert anogen("train", *train, "--epochs", "1").code == 0
    outcome = anogen("watch", tmp_path / "r", tmp_path / "new.csv", "--json")
    assert outcome.code == 0, outcome.err
    (stream,) = json.loads(outcome.out)["streams"]
    assert 600 < stream["alarms"][0]["at"] < 800
    assert any("size rose" in alarm["text"] for alarm in stream["alarms"])


def test_alarms_go_to_a_file(anogen, run, made, tmp_path):
    out = tmp_path / "alarms.jsonl"
    assert anogen("watch", run, made / "changed.npy", "--alert", out).code == 0
    alarms = [json.loads(line) for line in out.read_text().splitlines()]
    assert {alarm["model"] for alarm in alarms} == {"digits"}


def test_bad_input_is_one_line(anogen, run, made, tmp_path):
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00" * 50)
    assert anogen("score", run, made / "usual.npy", "--out", tmp_path / "s.csv").code == 0
    other = (tmp_path / "s.csv").read_text().splitlines()
    cells = other[1].split(",")
    cells[2] = str(float(cells[2]) + 1e6)
    (tmp_path / "other.csv").write_text("\n".join([other[0], ",".join(cells)]) + "\n")
    for arguments, code in (
        (["--from", tmp_path / "nothing.csv"], 3), (["--from", tmp_path / "text.csv"], 3),
        (["--from", tmp_path / "binary.csv"], 3), (["--from", tmp_path / "other.csv"], 2), ([], 2),
        (["--from", tmp_path / "s.csv", made / "usual.npy"], 2),
        (["--from", tmp_path / "s.csv", "--group", "("], 2),
        (["--from", tmp_path / "s.csv", "--level", "2"], 2), (["--from", "oracle9://x"], 2),
        (["--verdicts", tmp_path / "v"], 3), ([tmp_path / "nothing.npy"], 3),
    ):  # fmt: skip
        outcome = anogen("watch", run, *arguments)
        assert outcome.code == code, (arguments, outcome.err)
        assert one_line(outcome), outcome.err


def test_refresh_learns_from_what_was_approved(anogen, run, made):
    noise = np.load(made / "changed.npy")[-100:]
    np.save(run.parent / "noise.npy", noise)
    before = load(run).detector
    load(run).detectors["squared_error"]
    load(run).detectors["nearest_pixels"]
    outcome = anogen("refresh", run, run.parent / "noise.npy")
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip() == str(run / "detector" / "fused")
    after = load(run).detector
    assert after.score(noise).mean() < before.score(noise).mean()
    assert len(after.calibration.scores) == len(before.calibration.scores) + 20
    assert not (run / "detector" / "nearest_pixels").exists()
    again = Detector.of_run(Run.open(run), "nearest_pixels")
    assert again.score(noise[:4]).max() == 0  # learnt from, too
    assert anogen("refresh", run).code == 2
    assert anogen("refresh", run, run.parent / "nothing.npy").code == 3
    np.save(run.parent / "large.npy", np.zeros((2, 9, 9), np.uint8))
    outcome = anogen("refresh", run, run.parent / "large.npy")
    assert outcome.code == 3
    assert one_line(outcome)


def test_approved_examples_are_kept_once_and_checked(run, made):
    opened = Run.open(run)
    data = opened.load_data()
    assert approved(opened) is None
    assert with_approved(data, None) is data
    some, new = with_more(opened, data.test[:7])
    assert new == 7
    keep_approved(opened, some)
    more, new = with_more(opened, data.test[:9])
    assert (len(more), new) == (9, 2)
    joined = with_approved(data, more)
    assert len(joined.train) == len(data.train) + 8
    assert len(joined.validation) == len(data.validation) + 1
    assert joined.test is data.test
    (run / "approved.npy").write_bytes(b"damaged")
    with pytest.raises(MachineError, match="damaged"):
        approved(opened)
    np.save(run / "approved.npy", np.zeros((2, 3, 3)))
    with pytest.raises(MachineError, match="does not hold examples"):
        approved(opened)
    (run / "approved.npy").unlink()
    with pytest.raises(DataError, match="the run has"):
        with_more(opened, Images(np.zeros((1, 1, 9, 9), np.uint8), "small"))


def test_a_refresh_that_fails_changes_nothing(anogen, run, made, monkeypatch):
    before = load(run).detector
    np.save(run.parent / "new.npy", np.load(made / "usual.npy")[:9])
    monkeypatch.setattr(Detector, "fit_all", None)
    assert anogen("refresh", run, run.parent / "new.npy").code == 1
    assert approved(Run.open(run)) is None
    assert load(run).detector.calibration.sha256 == before.calibration.sha256
