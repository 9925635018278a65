"""A table from the shell: trained, detected, scored with reasons, reported, exported."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

import anogen as product
from anogen.detection.rows import TableRow
from tests.conftest import one_line

COUNT = 1200


@pytest.fixture(scope="module")
def payments(tmp_path_factory):
    """Payments, one in fifty a fraud of large amount or from elsewhere; the last 200 are new."""
    folder = tmp_path_factory.mktemp("payments")
    random = np.random.default_rng(0)
    frame = pd.DataFrame({
        "number": np.arange(COUNT),
        "amount": random.lognormal(3, 0.5, COUNT).round(2),
        "country": random.choice(["FR", "DE"], COUNT),
        "note": [f"payment {n} of somebody" for n in range(COUNT)],
        "is_fraud": 0,
    })  # fmt: skip
    fraud = np.arange(0, COUNT, 50)
    frame.loc[fraud, "is_fraud"] = 1
    frame.loc[fraud[::2], "amount"] *= 40
    frame.loc[fraud[1::2], "country"] = "XX"
    frame[:1000].to_csv(folder / "known.csv", index=False)
    frame[1000:].to_csv(folder / "new.csv", index=False)
    frame[1000:].to_parquet(folder / "new.parquet")
    return folder, frame


@pytest.fixture(scope="module")
def run(payments, tmp_path_factory):
    folder, _ = payments
    data = product.load_data(folder / "known.csv", label_column="is_fraud")
    model = product.VAE(data.shape, latent=2, width=4)
    return product.fit(model, data, tmp_path_factory.mktemp("runs") / "payments", epochs=1)


def test_labelled_anomalies_are_in_no_split(payments):
    folder, frame = payments
    data = product.load_data(folder / "known.csv", label_column="is_fraud")
    assert data.anomalies is not None
    assert len(data.anomalies) == frame["is_fraud"][:1000].sum() == 20
    assert len(data.train) + len(data.validation) + len(data.test) == 980
    kinds = {column.name: column.kind for column in data.columns.columns}
    assert kinds == {"number": "ignored", "amount": "number", "country": "category",
                     "note": "ignored", "is_fraud": "ignored"}  # fmt: skip
    assert "XX" not in next(c for c in data.columns.columns if c.name == "country").levels


def test_from_training_to_rows_with_reasons(anogen, payments, tmp_path):
    folder, frame = payments
    run = tmp_path / "run"
    trained = anogen(
        "train", "--data", folder / "known.csv", "--label_column", "is_fraud", "--run", run,
        "--epochs", "1", "--model.width", "4", "--device", "cpu",
    )  # fmt: skip
    assert trained.code == 0
    assert "column number is left out: numbers the rows" in trained.err
    assert "20 of 1,000 rows are labelled as anomalies" in trained.err
    detected = anogen("detect", run, "--score", "fused", "--json")
    assert detected.code == 0
    assert json.loads(detected.out)["rows"][0]["auroc"] > 0.99
    kept = json.loads((run / "detection.json").read_text("utf-8"))["anomalies"]
    assert all(frame["is_fraud"][row["index"]] == 1 for row in kept)
    assert all(row["cells"]["note"] == f"payment {row['index']} of somebody" for row in kept)
    page = (run / "report.html").read_text("utf-8")
    assert "The most anomalous rows" in page
    assert "country XX (in no training row)" in page
    assert anogen("evaluate", run).code == 0
    assert anogen("report", run).code == 0
    scored = anogen("score", run, folder / "new.csv", "--out", tmp_path / "scored.csv")
    assert scored.code == 0
    rows = list(csv.DictReader((tmp_path / "scored.csv").read_text("utf-8").splitlines()))
    assert list(rows[0]) == list(TableRow.__dataclass_fields__)
    labels = np.array([int(row["label"]) for row in rows])
    truth = frame["is_fraud"][1000:].to_numpy()
    assert (labels[truth == 1] == 1).all()
    assert labels[truth == 0].mean() < 0.05
    assert all(bool(row["reasons"]) == (row["label"] == "1") for row in rows)
    first = rows[0]  # 40 times the amount
    assert first["reasons"].startswith("amount ")
    again = anogen("score", run, folder / "new.parquet", "--out", tmp_path / "scored.parquet")
    assert again.code == 0
    table = pd.read_parquet(tmp_path / "scored.parquet")
    assert table["score"].tolist() == [float(row["score"]) for row in rows]


def test_python_and_the_shell_agree(anogen, payments, run):
    folder, frame = payments
    rows = anogen("score", run.path, folder / "new.csv").out.splitlines()[1:]
    detector = product.load(run.path).detector
    expected = detector.score(frame[1000:])
    assert [float(row.split(",")[2]) for row in rows] == expected.tolist()
    assert np.array_equal(detector.score(folder / "new.parquet"), expected)


def test_detect_encodes_another_table_as_the_run_s(anogen, payments, run, tmp_path):
    _, frame = payments
    usual = frame[1000:][frame["is_fraud"][1000:] == 0]
    usual.to_csv(tmp_path / "usual.csv", index=False)
    usual.assign(amount=usual["amount"] * 1000).to_csv(tmp_path / "huge.csv", index=False)
    row = {}
    for name in ("usual", "huge"):
        told = anogen("detect", run.path, "--score", "fused", "--json", "--out",
                      tmp_path / f"{name}.csv")  # fmt: skip
        row[name] = json.loads(told.out)["rows"][0]
    assert row["usual"]["auroc"] < 0.6
    assert row["huge"]["auroc"] > 0.99


def test_append_leaves_out_a_line_that_is_being_written(anogen, payments, run, tmp_path):
    folder, _ = payments
    lines = (folder / "new.csv").read_text("utf-8").splitlines(keepends=True)
    log, out, whole = tmp_path / "log.csv", tmp_path / "out.csv", tmp_path / "whole.csv"
    for text in ("".join(lines[:40])[:-6], "".join(lines)[:-3], "".join(lines)):
        log.write_text(text, "utf-8")
        assert anogen("score", run.path, log, "--out", out, "--append").code == 0
    assert anogen("score", run.path, log, "--out", whole).code == 0
    assert out.read_bytes() == whole.read_bytes()
    other = anogen("score", run.path, log, "--out", out, "--append", "--score", "row_mixture")
    assert other.code == 2
    assert "written by another detector" in other.err
    mixture = tmp_path / "mixture.csv"  # whose scores are negative
    for _ in range(2):
        again = anogen("score", run.path, log, "--out", mixture, "--append", "--score",
                       "row_mixture")  # fmt: skip
        assert again.code == 0
    assert "'-" not in mixture.read_text("utf-8")


def test_append_refuses_what_was_not_scored_before(anogen, payments, run, tmp_path):
    folder, _ = payments
    lines = (folder / "new.csv").read_text("utf-8").splitlines(keepends=True)
    log, other, out = tmp_path / "log.csv", tmp_path / "other.csv", tmp_path / "out.csv"
    for path in (log, other):
        path.write_text("".join(lines[:60]), "utf-8")
    first = anogen("score", run.path, log, "--out", out, "--append")
    assert "59 rows were added" in first.err
    before = out.read_bytes()
    refused = anogen("score", run.path, other, "--out", out, "--append")
    assert refused.code == 2
    assert "goes on with the one file that --out was written of" in refused.err
    log.write_text("".join(lines[:20]), "utf-8")
    shorter = anogen("score", run.path, log, "--out", out, "--append")
    assert shorter.code == 3
    assert "has fewer rows than were scored before" in shorter.err
    assert out.read_bytes() == before


def test_a_file_that_grows_is_scored_where_it_was_left(anogen, payments, run, tmp_path):
    folder, _ = payments
    lines = (folder / "new.csv").read_text("utf-8").splitlines(keepends=True)
    log = tmp_path / "log.csv"
    for ending in ("csv", "jsonl", "parquet"):
        out, whole = tmp_path / f"grown.{ending}", tmp_path / f"whole.{ending}"
        for most in (50, 120, len(lines)):
            log.write_text("".join(lines[:most]), "utf-8")
            assert anogen("score", run.path, log, "--out", out, "--append").code == 0
        assert anogen("score", run.path, log, "--out", whole).code == 0
        if ending == "parquet":
            assert pd.read_parquet(out).equals(pd.read_parquet(whole))
        else:
            assert out.read_bytes() == whole.read_bytes()


def test_a_run_of_a_table_is_exported_and_its_anomalies_are_the_default_set(anogen, run, tmp_path):
    out = tmp_path / "detector.onnx"
    assert anogen("export", run.path, "--score", "fused", "--out", out).code == 0
    assert out.stat().st_size > 1000


BAD = {
    "a column is gone": (lambda text: text.replace("amount", "amounts"), 3,
                         "'amount' is missing; was it renamed to 'amounts'?"),
    "ragged": (lambda text: text + "1,2\n", 3, "2 cells, but the first line names 5"),
    "another encoding": (lambda text: text.replace("FR", "Fé"), 3, "not in utf-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(anogen, payments, run, tmp_path, name):
    change, code, message = BAD[name]
    text = change((payments[0] / "new.csv").read_text("utf-8"))
    (tmp_path / "bad.csv").write_bytes(text.encode("latin-1"))
    refused = anogen("score", run.path, tmp_path / "bad.csv", "--out", tmp_path / "out.csv")
    assert refused.code == code
    assert message in refused.err
    assert one_line(refused)
    assert not (tmp_path / "out.csv").exists()


def test_a_bad_row_is_a_row_with_its_error(anogen, payments, run, tmp_path):
    lines = (payments[0] / "new.csv").read_text("utf-8").splitlines()
    lines[3] = lines[3].replace(lines[3].split(",")[1], "a lot")
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n", "utf-8")
    scored = anogen("score", run.path, tmp_path / "new.csv")
    assert scored.code == 0
    rows = list(csv.DictReader(scored.out.splitlines()))
    assert rows[2]["error"] == "column amount: 'a lot' is no finite number"
    assert rows[2]["score"] == ""
    assert rows[3]["score"]
    strict = anogen("score", run.path, tmp_path / "new.csv", "--strict")
    assert strict.code == 3
    assert "row 3, column amount: 'a lot'" in strict.err


OPTIONS = {
    "label": (["--label_column", "fraud"], 2, "did you mean 'is_fraud'"),
    "labels": (["--label_column", "country"], 2, "say which of these is normal with normal_label"),
    "kind": (["--columns.amount", "numeric"], 2, "columns.amount: expected number, category"),
    "column": (["--columns.amont", "number"], 2, "did you mean 'amount'"),
    "transformed": (["--label_column", "is_fraud"], 2, "transformations are for images"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_refused_in_one_line(anogen, payments, tmp_path, name):
    options, code, message = OPTIONS[name]
    data = str(payments[0] / "known.csv") + ("+blur" if name == "transformed" else "")
    refused = anogen("train", "--data", data, "--run", tmp_path / "run", *options)
    assert refused.code == code
    assert message in refused.err
    assert one_line(refused)
    assert not (tmp_path / "run").exists()


def test_options_of_tables_are_for_tables(anogen, tmp_path):
    refused = anogen("train", "--data", "digits", "--label_column", "x", "--run", tmp_path / "run")
    assert refused.code == 2
    assert "apply to tables only" in refused.err


def test_damaged_columns_are_named(run, anogen, payments, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    content = json.loads((copy / "columns.json").read_text("utf-8"))
    content["centre"] = content["centre"][1:]
    (copy / "columns.json").write_text(json.dumps(content), "utf-8")
    refused = anogen("score", copy, payments[0] / "new.csv")
    assert refused.code == 5
    assert "columns.json: damaged" in refused.err


def test_a_table_larger_than_memory_is_kept_in_a_file(payments, monkeypatch):
    plain = product.load_data(payments[0] / "known.csv")
    monkeypatch.setattr("anogen.data.table_files.IN_MEMORY_BYTES", 1000)
    mapped = product.load_data(payments[0] / "known.csv")
    assert mapped.train.sha256 == plain.train.sha256
    assert not isinstance(mapped.train.pixels, np.ndarray)
