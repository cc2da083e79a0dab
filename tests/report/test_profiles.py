"""What the page and the terminal show of profiles of the items."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from tests.report.test_run_report import Balance
from tests.support.evaluated import QUICK

from leadline.evaluate.run_results import evaluate_run, own_table
from leadline.profiles.profile import ITEM_NOTICE
from leadline.report.profiles import profile_view
from leadline.report.run_report import report_run
from leadline.report.summary import profile_lines


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory) -> tuple[Any, dict[str, Any]]:
    """A run of simulated people and its results."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("profiles") / "run")
    return run, evaluate_run(run, settings=QUICK)


def test_the_page_shows_every_item_and_says_what_item_9_is_not(evaluated) -> None:
    run, results = evaluated
    page = report_run(run).read_text()
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.images == parser.named
    section = page[page.index('id="profile"') :]
    section = section[: section.index("</section>")]
    assert ITEM_NOTICE in section
    assert "no sign of risk or safety" in section
    assert "sum to the estimated total of every PHQ-9" in section
    for item in results["profile"]["sets"][0]["items"]:
        assert f"{item['item']} {item['name']}" in section
    assert section.count("PHQ-9 given") == 3, "three simulated people are shown"


def test_real_people_are_shown_only_when_asked_for(evaluated) -> None:
    run, results = evaluated
    shown = profile_view(results, own_table(run, "profiles.parquet"))
    assert shown is not None
    assert len(shown["people"]) == 3
    totals = [one["total"] for one in shown["people"]]
    assert totals == sorted(totals)
    nobody = profile_view(results, None)
    assert nobody is not None
    assert nobody["people"] == []


def test_a_profile_that_misses_its_total_is_said(evaluated) -> None:
    results = evaluated[1]
    wrong = {**results, "profile": {**results["profile"], "disagreement": 0.25}}
    view = profile_view(wrong, None)
    assert view is not None
    assert not view["agrees"]


def test_whether_words_moved_a_profile_is_said_of_few_people_too(evaluated) -> None:
    scores = evaluated[1]["profile"]
    for value, moved in ((0.0, False), (0.02, True)):
        gains = scores["sets"][0]["gains"] | {"total only": {"value": value, "low": None}}
        sets = [scores["sets"][0] | {"gains": gains}]
        view = profile_view({"profile": scores | {"sets": sets}}, None)
        assert view is not None
        assert view["sets"][0]["moved_by_text"] == moved


def test_evaluations_of_before_show_nothing_of_profiles(evaluated) -> None:
    for results in ({**evaluated[1], "profile": None}, {}):
        assert profile_view(results, None) is None
        assert profile_lines(results) == []


def test_the_terminal_has_a_line_for_each_set_and_the_notice(evaluated) -> None:
    lines = profile_lines(evaluated[1])
    assert lines[0].startswith("Items, cross-validation: MAE 0.")
    assert "without text" in lines[0]
    assert lines[-1] == ITEM_NOTICE
