"""What the README says is true: its code runs, its options exist, its links lead somewhere."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from anogen import MODELS, SCORES
from anogen.cli.main import COMMANDS
from anogen.experiments.claims import judge_claims

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
GUIDES = [ROOT / "docs/index.md", *sorted(ROOT.glob("docs/guides/*.md"))]
EXAMPLES = sorted(ROOT.glob("examples/*.py"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = blocks(ROOT / "README.md", "python")
    assert len(code) == 1
    assert len([line for line in code[0].splitlines() if line.strip()]) <= 7
    exec(compile(code[0], "README.md", "exec"), {})
    clean, noisy = map(float, capsys.readouterr().out.split())
    assert clean < 0.15
    assert noisy > 0.8  # what the comments beside them say


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_python_of_the_guides_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(SCORES)
    try:
        exec(compile("\n".join(blocks(page, "python")), str(page), "exec"), {"__name__": "guide"})
    finally:
        SCORES.clear()
        SCORES.update(before)


EXAMPLE = """
import contextlib, runpy, sys
from anogen.evaluation import features
features.MIN_STEPS = 20  # a net that judges samples is soon learnt
for option in ("--help", "--epochs=1"):
    sys.argv = [sys.argv[0], option]
    with contextlib.suppress(SystemExit):
        runpy.run_path(sys.argv[0], run_name="__main__")
    print("=====", flush=True)
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs_as_its_first_lines_say(path, tmp_path):
    text = path.read_text("utf-8")
    (command,) = re.findall(rf"^python examples/{path.name} (.*)$", text, re.MULTILINE)
    code = EXAMPLE.replace("sys.argv[0]", repr(str(path)))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    accepted, printed = done.stdout.split("=====\n")[:2]
    assert all(word in accepted for word in command.split() if word.startswith("--"))
    assert printed.strip()


def commands_of(page: Path) -> list[list[str]]:
    text = "".join(blocks(page, "sh")).replace("\\\n", "")
    lines = [line.strip() for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("anogen ")]


def test_the_readme_and_the_reference_name_every_command():
    assert {words[1] for words in commands_of(ROOT / "README.md")} == set(COMMANDS)
    reference = (ROOT / "docs/reference/command-line.md").read_text("utf-8")
    for name, what in COMMANDS.items():
        assert f"| `anogen {name}` | {what} |" in reference


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_exists(anogen, page):
    for words in commands_of(page):
        text = anogen(words[1], "--help").out
        if words[1] == "train":
            for model in MODELS:
                text += anogen("train", "--model.help", model).out
        for option in (word for word in words if word.startswith("--")):
            known = re.search(rf"{re.escape(option)}(?!\w)", text) or option == "--model.noise"
            assert known, f"{option} of anogen {words[1]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert re.match(r"https?://", target) or (page.parent / target).exists(), target


def test_targets_of_make_that_pages_name_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`?make ([a-z-]+)`", page.read_text("utf-8")):
            assert f"\n{target}:" in makefile, target


def test_the_results_are_what_their_files_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from results_page import pages

    for path, text in pages().items():
        assert path.read_text("utf-8") == text, f"{path}: run python benchmarks/results_page.py"


@pytest.mark.parametrize("name", ["reproduction", "reproduction_seeds"])
def test_the_published_verdicts_are_what_the_claims_of_today_say(name):
    published = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text("utf-8"))
    assert [claim.as_json() for claim in judge_claims(published)] == published["claims"]
