import re

from anogen import progress
from anogen.progress import Progress, stage


def test_short_work_shows_nothing(capsys):
    with Progress("reading", 10) as bar:
        for _ in range(10):
            bar.advance(1)
    assert capsys.readouterr().err == ""


def test_without_a_terminal_there_are_plain_lines_now_and_then(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 1))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with Progress("training", 100, done=10) as bar:
        for _ in range(90):
            bar.advance(1, "loss 1.5")
    lines = capsys.readouterr().err.splitlines()
    assert 2 < len(lines) < 30
    assert re.match(r"training: \d+/100 images, .*/s, \d+ s left  loss 1.5", lines[0])


def test_on_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_S", -1.0)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress("training", 3) as bar:
        for _ in range(3):
            bar.advance(1, "loss 1.5")
    assert "3/3" in capsys.readouterr().err


def test_a_stage_says_how_long_it_took(capsys):
    with stage("drawing"):
        pass
    assert re.fullmatch(r"drawing ...\ndrawing: done in \d.\d s\n", capsys.readouterr().err)
