"""The whole paper in small: stages that are kept, failures that stay alone, verdicts, the page."""

import json
import re

import pytest

from anogen.errors import DataError, Interrupted, MachineError, TrainingError, UsageError
from anogen.evaluation import features as features_module
from anogen.experiments import measure as measuring
from anogen.experiments import reproduce as module
from anogen.experiments.claims import judge_claims
from anogen.experiments.reproduce import reproduce
from anogen.experiments.stages import Stages
from anogen.experiments.systems import SYSTEMS
from anogen.models import MODELS
from anogen.presets import presets
from anogen.report.figures import bars
from anogen.report.gallery import Picture
from anogen.run import Run
from anogen.training.loop import Loop

from ..conftest import one_line

SMALL = {"data": "digits", "epochs": 1, "limit": 800}


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """A classifier of a few steps in a cache of its own, few samples and few scores."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(features_module, "MIN_STEPS", 20)
    monkeypatch.setattr(module, "SAMPLES", 60)
    monkeypatch.setattr(measuring, "MIDPOINTS", 40)
    few = ("squared_error", "fused", "pixel_entropy", "nearest_pixels")
    for each in (module, measuring):
        monkeypatch.setattr(each, "DETECTION_SCORES", few)


def read(folder):
    return json.loads((folder / "results.json").read_text("utf-8"))


def test_every_system_is_one_that_exists():
    for system in SYSTEMS.values():
        assert system.preset in presets()[system.model]
        assert system.model in MODELS
    assert SYSTEMS["vae"].epochs(50) == 50
    assert SYSTEMS["stylegan"].epochs(50) == 10
    assert SYSTEMS["stylegan"].epochs(3) == 1


def test_the_same_call_does_nothing_again_and_more_seeds_add_to_it(tmp_path, capsys):
    systems = ("vae", "vaegan")
    page = reproduce(tmp_path / "out", **SMALL, systems=systems)
    first = read(tmp_path / "out")
    html = page.read_text("utf-8")
    vae = first["measures"]["vae"]["squared_error"]
    assert f"{vae['mean']:.4g}" in html
    assert vae["low"] < vae["mean"] < vae["high"]
    assert set(first["detection"]) == {"vae"}
    row = first["detection"]["vae"]["scores"]["squared_error"]
    assert f"{row['precision_1']['mean']:.3g}" in html
    assert set(first["seconds"]) == {
        "train-vae-0", "measure-vae-0", "detect-vae-0", "train-vaegan-0", "measure-vaegan-0"
    }  # fmt: skip
    assert all(took > 0 for took in first["seconds"].values())
    assert "minutes of training and" in html
    assert "the paper finds them sharper" in html  # what to see in figure 6
    verdicts = {claim["text"]: claim["verdict"] for claim in first["claims"]}
    lower = verdicts["The VAE-GAN has a lower reconstruction loss than the VAE."]
    vaegan = first["measures"]["vaegan"]["squared_error"]["mean"]
    assert lower == ("holds" if vaegan < vae["mean"] else "does not hold")
    assert verdicts["Dropout improves the VAE."] == "not testable"
    assert "These are not the paper's conditions" in html
    assert len(html) < 5_000_000
    assert html.count("<img") == html.count('alt="')
    links = set(re.findall(r'href="#([^"]+)"', html))
    assert links <= set(re.findall(r'id="([^"]+)"', html))

    capsys.readouterr()
    reproduce(tmp_path / "out", **SMALL, systems=systems)
    assert not re.search(r"stage (measure|detect)|training", capsys.readouterr().err)
    assert read(tmp_path / "out") == first

    reproduce(tmp_path / "out", **SMALL, systems=["vae"], seeds=2)
    said = capsys.readouterr().err
    assert "stage measure-vae-1" in said
    assert set(read(tmp_path / "out")["measures"]) == set(first["measures"])  # the others stay
    assert not (tmp_path / "out" / "runs" / "vaegan-1").exists()
    assert "measure-vae-0" not in said
    both = read(tmp_path / "out")["measures"]["vae"]["squared_error"]
    assert both["values"][0] == vae["mean"]
    assert both["low"] < min(both["values"])  # over seeds now, two of them


def test_a_stage_that_fails_leaves_the_others_alone(tmp_path, monkeypatch):
    train = module.fit

    def fit(model, *arguments, **settings):
        if type(model).__name__ == "VAEGAN":
            raise TrainingError("the loss of <i>decoder</i> is no longer finite")
        return train(model, *arguments, **settings)

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(TrainingError, match="no longer finite"):
        reproduce(tmp_path, **SMALL, systems=["vaegan", "vae"])
    found = read(tmp_path)
    assert set(found["missing"]) == {"train-vaegan-0"}
    assert set(found["measures"]) == {"vae"}
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "train-vaegan-0" in html
    assert "<i>decoder" not in html
    monkeypatch.setattr(module, "fit", train)
    reproduce(tmp_path, **SMALL, systems=["vaegan", "vae"])
    assert read(tmp_path)["missing"] == {}


def test_an_interruption_ends_all_and_the_next_call_goes_on(tmp_path, monkeypatch):
    measure = measuring.evaluate

    def interrupted(*arguments, **settings):
        raise Interrupted("stopped by a signal", 2)

    monkeypatch.setattr(measuring, "evaluate", interrupted)
    with pytest.raises(Interrupted, match="the same command goes on"):
        reproduce(tmp_path, **SMALL, systems=["vae"])
    assert not (tmp_path / "report.html").exists()
    weights = tmp_path / "runs" / "vae-0" / "checkpoints" / "last" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    monkeypatch.setattr(measuring, "evaluate", measure)
    assert reproduce(tmp_path, **SMALL, systems=["vae"]).is_file()
    assert weights.stat().st_mtime_ns == before


def test_a_run_with_other_settings_is_not_taken_for_the_one_wanted(tmp_path):
    reproduce(tmp_path, **SMALL, systems=["gan"])
    before = (tmp_path / "report.html").read_bytes()
    with pytest.raises(UsageError, match="was begun with limit 800, now 900; choose another"):
        reproduce(tmp_path, **(SMALL | {"limit": 900}), systems=["gan"])
    with pytest.raises(UsageError, match="was begun with epochs 1, now 2; choose another"):
        reproduce(tmp_path, **(SMALL | {"epochs": 2}), systems=["vae", "gan"])
    assert (tmp_path / "report.html").read_bytes() == before
    assert [run.name for run in (tmp_path / "runs").iterdir()] == ["gan-0"]
    reproduce(tmp_path, **SMALL, systems=["gan", "gan"])
    assert len(read(tmp_path)["measures"]["gan"]["frechet_distance"]["values"]) == 1


def test_other_data_is_refused_and_what_there_is_stays(tmp_path):
    reproduce(tmp_path, **SMALL, systems=["gan"])
    before = (tmp_path / "report.html").read_bytes()
    with pytest.raises(DataError, match="differ from those of the run"):
        reproduce(tmp_path, **(SMALL | {"data": "digits+inversion"}), systems=["gan"])
    assert (tmp_path / "report.html").read_bytes() == before


def test_a_last_save_that_failed_is_made_up_for(tmp_path, monkeypatch):
    two = SMALL | {"epochs": 2}
    save = Loop.save

    def full(loop, run):
        if loop.state.counters.epoch == 2:
            raise MachineError("no space left on device")
        save(loop, run)

    monkeypatch.setattr(Loop, "save", full)
    with pytest.raises(MachineError, match="no space left"):
        reproduce(tmp_path, **two, systems=["gan"])
    monkeypatch.undo()
    run = Run.open(tmp_path / "runs" / "gan-0")
    assert (len(run.metrics), run.epoch_of("last")) == (2, 1)
    monkeypatch.setattr(features_module, "MIN_STEPS", 20)
    monkeypatch.setattr(module, "SAMPLES", 60)
    reproduce(tmp_path, **two, systems=["gan"])
    assert run.epoch_of("last") == 2
    assert read(tmp_path)["measures"]["gan"]["checkpoint_epoch"]["values"] == [2]


def test_the_reverse_system_learns_what_is_out_for_the_others(tmp_path):
    reproduce(tmp_path, **SMALL, systems=["vae-reverse"])
    found = read(tmp_path)
    assert found["systems"]["vae-reverse"]["data"] == "digits+inversion"
    row = found["detection"]["vae-reverse"]["scores"]["fused"]
    assert (row["in_set"], row["out_set"]) == ("digits+inversion", "digits")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "digits+inversion in" in html
    table_2 = html.split("Table 2")[1].split("</h2>")[0]
    assert "vae-reverse" not in table_2  # the paper's table is of the other direction


def test_stages_are_kept_while_inputs_and_pictures_stay(tmp_path):
    for name in ("stages", "figures"):
        (tmp_path / name).mkdir()
    calls = []

    def make():
        calls.append(1)
        return {"value": len(calls)}, [Picture("p", "t", "c", bars([1.0], "t", "l", "a"))]

    def value(inputs):
        return (Stages(tmp_path).do("s", inputs, make) or {})["value"]

    assert [value({"a": (1, 2)}), value({"a": [1, 2]})] == [1, 1]
    assert value({"a": [1, 3]}) == 2
    (tmp_path / "figures" / "s-p.png").unlink()
    assert value({"a": [1, 3]}) == 3
    (tmp_path / "stages" / "s.json").write_text("{")
    assert value({"a": [1, 3]}) == 4
    stages = Stages(tmp_path)
    stages.do("s", {"a": [1, 3]}, make)
    assert [kept.title for kept in stages.pictures["s"]] == ["t"]
    assert set(stages.seconds) == {"s"}  # kept with the result


@pytest.mark.parametrize(
    ("vaegan", "vae", "verdict"),
    [
        ([1.0, 2.0, 1.0], [3.0, 3.0, 3.0], "confirmed"),
        ([4.0, 4.0, 4.0], [3.0, 3.0, 3.0], "refuted"),
        ([1.0, 2.0], [3.0, 3.0], "holds"),
        ([4.0, 4.0], [3.0, 3.0], "does not hold"),
        ([2.0, 4.0], [3.0, 3.0], "undecided"),
        ([2.0], None, "not testable"),
    ],
)
def test_a_verdict_needs_every_seed(vaegan, vae, verdict):
    measures = {
        name: {
            "squared_error": {
                "seeds": list(range(len(values))),
                "values": values,
                "mean": sum(values) / len(values),
            }
        }
        for name, values in (("vaegan", vaegan), ("vae", vae))
        if values
    }
    claims = {claim.text: claim for claim in judge_claims({"measures": measures})}
    claim = claims["The VAE-GAN has a lower reconstruction loss than the VAE."]
    assert claim.verdict == verdict
    if verdict == "undecided":
        assert claim.numbers.endswith("It holds with 1 of 2 seeds.")


def test_a_claim_compares_equal_seeds():
    measures = {
        "vaegan": {"squared_error": {"seeds": [0, 1], "values": [5.0, 1.0], "mean": 3.0}},
        "vae": {"squared_error": {"seeds": [1, 2], "values": [2.0, 9.0], "mean": 5.5}},
    }
    text = "The VAE-GAN has a lower reconstruction loss than the VAE."
    (claim,) = [each for each in judge_claims({"measures": measures}) if each.text == text]
    assert claim.verdict == "holds"  # of seed 1; the others have no partner
    assert claim.shown == "holds (1 seed)"
    del measures["vae"]["squared_error"]["values"][0], measures["vae"]["squared_error"]["seeds"][0]
    (claim,) = [each for each in judge_claims({"measures": measures}) if each.text == text]
    assert claim.verdict == "not testable"


def test_a_mistake_in_a_stage_and_a_full_disk_end_that_stage_alone(tmp_path, monkeypatch):
    for name in ("stages", "figures"):
        (tmp_path / name).mkdir()
    stages = Stages(tmp_path)
    assert stages.do("wrong", {}, lambda: 1 / 0) is None
    assert "unexpected ZeroDivisionError" in str(stages.failures["wrong"])

    def full(path, content):
        raise MachineError(f"{path}: cannot be written (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr("anogen.experiments.stages.replace_durably", full)
        assert stages.do("full", {}, lambda: ({"a": 1}, [])) is None
    assert "No space left" in str(stages.failures["full"])
    assert stages.do("full", {}, lambda: ({"a": 1}, [])) == {"a": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--systems", "[vea]"], 2, "did you mean 'vae'"),
        (["--seeds", 0], 2, "seeds must be at least 1"),
        (["--epochs", 0], 2, "epochs must be at least 1"),
        (["--data", "no/such/folder"], 3, "no such file or folder"),
        (["--data", "digits", "--against", "digits"], 2, "both called digits"),
        (["--data", "digits", "--limit", 300], 2, "cannot support a false-positive rate of 0.01"),
        (["--data", "digits", "--limit", 3], 2, "limit must be at least 10"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(anogen, tmp_path, arguments, code, says):
    outcome = anogen("reproduce", "--out", tmp_path / "out", *arguments)
    assert outcome.code == code
    assert one_line(outcome)
    assert says in outcome.err
    assert not list((tmp_path / "out").glob("runs/*"))


def test_out_must_be_a_folder(anogen, tmp_path):
    (tmp_path / "out").touch()
    outcome = anogen("reproduce", "--out", tmp_path / "out", "--data", "digits")
    assert outcome.code == 5
    assert one_line(outcome)


def test_the_command_prints_where_the_page_is(anogen, tmp_path):
    options = ("--data", "digits", "--epochs", 1, "--limit", 200, "--systems", "[vaegan]")
    outcome = anogen("reproduce", "--out", tmp_path / "out", *options)
    assert outcome.code == 0
    assert outcome.out.strip() == str(tmp_path / "out" / "report.html")
