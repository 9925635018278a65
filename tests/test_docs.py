"""What the README says is true: its code runs, its options exist, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from anogen.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = blocks(ROOT / "README.md", "python")
    assert len(code) == 3  # each goes on where the one before ends
    assert len([line for line in code[0].splitlines() if line.strip()]) <= 7
    exec(compile("\n".join(code), "README.md", "exec"), {})
    error, low, high = map(float, capsys.readouterr().out.split())
    assert low < error < high


def test_every_command_and_option_of_the_readme_exists(anogen):
    lines = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("anogen ")]
    assert {words[1] for words in commands} == set(COMMANDS)
    for words in commands:
        text = anogen(words[1], "--help").out
        if words[1] == "train":
            text += anogen("train", "--model.help", "VAE").out
        for option in (word for word in words if word.startswith("--")):
            assert option in text, f"{option} of anogen {words[1]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert re.match(r"https?://", target) or (page.parent / target).exists(), target


def test_targets_of_make_that_pages_name_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`?make ([a-z]+)`", page.read_text("utf-8")):
            assert f"\n{target}:" in makefile, target


def test_the_results_are_what_their_files_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from results_page import pages

    for path, text in pages().items():
        assert path.read_text("utf-8") == text, f"{path}: run python benchmarks/results_page.py"
