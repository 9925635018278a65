"""The list of mutants fits the source, so that it can be run again."""

import json
from pathlib import Path

import pytest

import anogen

LIST = Path(__file__).parent.parent / "benchmarks" / "mutants.json"
MUTANTS = json.loads(LIST.read_text("utf-8"))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["why"][:50])
def test_what_a_mutant_changes_is_there_once(mutant):
    source = Path(anogen.__file__).parent / mutant["file"].removeprefix("src/anogen/")
    assert source.read_text("utf-8").count(mutant["before"]) == 1
    assert mutant["before"] != mutant["after"]
