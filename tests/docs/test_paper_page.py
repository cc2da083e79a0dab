"""docs/paper.md: its commands are the program's, its paths are those of results.json."""

from __future__ import annotations

import json
import re
import shlex
from argparse import Namespace

import click
import pytest
from bench.gpu import paper_cost
from tests.support import ROOT
from tests.support.pages import look_up

from leadline.cli.app import app

PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")


def commands():
    lines = re.findall(r"^.*\bleadline (\w+ .*)$", PAGE, re.MULTILINE)
    return [shlex.split(line) for line in lines if "--out" in line or "--cohort" in line]


def test_the_page_has_the_whole_course():
    verbs = [words[0] for words in commands()]
    assert verbs == [
        "import", "label", "label", "selftrain", "evaluate", "selftrain", "selftrain",
    ]  # fmt: skip


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words[:4]))
def test_each_command_is_understood(words):
    verb = app.get_command(click.Context(app), words[0])
    context = verb.make_context(words[0], words[1:])
    assert not context.args


def test_a_path_that_is_none_is_found():
    results = {"sets": [{"split": "locked", "models": {"a": 1}}]}
    assert look_up(results, "sets[split=locked].models.a") == 1
    for wrong in ("sets[split=locked].models.b", "sets[split=later].models", "nothing"):
        with pytest.raises(LookupError):
            look_up(results, wrong)


def test_the_costs_on_the_page_are_those_of_the_code_today():
    recorded = json.loads((ROOT / "bench" / "results" / "paper_cost.json").read_text())
    today = paper_cost.measure(Namespace(**recorded["given"]))
    assert paper_cost.rows(today) == paper_cost.rows(recorded)
