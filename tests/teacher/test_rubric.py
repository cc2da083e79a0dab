"""The rubric, its answer, and the transcript that a teacher sees."""

from __future__ import annotations

import json
from importlib.resources import files

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib._pydantic import to_strict_json_schema
from tests.support.teacher_cohort import config, make_cohort, texts
from tests.support.teacher_server import rating_for

from leadline.errors import LeadlineError
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels
from leadline.teacher.rubric import (
    ITEM_NAMES,
    FewShotExample,
    Rating,
    answer_schema,
    load_rubric,
    parse_rating,
    quotes_found,
    system_prompt,
    user_prompt,
)

GOOD = rating_for("Person: I feel low and slow")


def with_change(**change):
    return json.dumps({**GOOD, **change})


def test_reads_a_valid_rating_with_or_without_a_fence():
    plain = parse_rating(json.dumps(GOOD))
    assert plain is not None
    assert plain.total == GOOD["total"]
    assert plain.scores()[2] is None
    assert parse_rating("```json\n" + json.dumps(GOOD, indent=1) + "\n```") == plain


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "null",
        "[]",
        "I would say 14.",
        json.dumps(GOOD)[:-1],
        json.dumps(GOOD) + " Hope this helps!",
        with_change(total=28),
        with_change(total=-1),
        with_change(total="12"),
        with_change(total=12.5),
        with_change(total=None),
        with_change(total=True),
        with_change(note="x"),
        with_change(sleep={"quote": "", "score": 4, "confidence": "low"}),
        with_change(sleep={"quote": "", "score": "2", "confidence": "low"}),
        with_change(sleep={"quote": "", "score": True, "confidence": "low"}),
        with_change(sleep={"quote": "", "score": 2, "confidence": "sure"}),
        with_change(sleep={"score": 2, "confidence": "low"}),
        json.dumps({name: GOOD[name] for name in ITEM_NAMES}),
    ],
)
def test_anything_else_is_not_a_rating(reply):
    assert parse_rating(reply) is None


@given(st.text())
def test_no_text_makes_the_parser_fail(text):
    assert parse_rating(text) is None


def test_schema_is_within_what_both_providers_enforce():
    schema = answer_schema()
    objects = [schema, *schema["$defs"].values()]
    for node in objects:
        assert node["additionalProperties"] is False
        assert set(node["required"]) == set(node["properties"])
    assert schema["properties"]["total"]["enum"] == list(range(28))
    assert list(schema["properties"]) == [*ITEM_NAMES, "total"]
    # nothing is moved into descriptions, that is, nothing goes unenforced
    assert "description" not in json.dumps(anthropic.transform_schema(answer_schema()))
    assert set(to_strict_json_schema(Rating)["required"]) == set(schema["required"])


def test_prompt_holds_the_whole_rubric_and_the_examples_answers():
    rubric = load_rubric()
    assert rubric.version.startswith("1-")
    example = FewShotExample("secret-id", "Person: I was well", (0, 1, None, 0, 0, 0, 0, 0, 0), 3)
    prompt = system_prompt(rubric, (example,))
    for number, (name, asks) in enumerate(zip(ITEM_NAMES, rubric.asks, strict=True), start=1):
        assert f"{number}. {name}: {asks}" in prompt
    assert '"low_mood": 1' in prompt
    assert '"total": 3' in prompt
    assert "sleep" not in prompt.split("Their own answers:")[1]
    assert "secret-id" not in prompt
    assert "<conversation>\nx\n</conversation>" in user_prompt("x")


def test_quotes_count_only_what_the_person_said():
    transcript = "Assistant: Are you tired all day?\nPerson: I\u2019m  Worn out, most days"
    found = dict(GOOD)
    for name in ITEM_NAMES:
        found[name] = {"quote": "", "score": 0, "confidence": "low"}
    found["fatigue"] = {"quote": '"i\'m worn OUT,"', "score": 2, "confidence": "low"}
    found["sleep"] = {"quote": "tired all day", "score": 2, "confidence": "low"}
    found["appetite"] = {"quote": "  ", "score": 0, "confidence": "low"}
    rating = parse_rating(json.dumps(found))
    assert rating is not None
    assert quotes_found(rating, transcript) == (2, 1)


def shipped_rubric():
    return files("leadline.teacher").joinpath("rubric.toml").read_text()


def test_another_rubric_is_asked_by_and_named_by_its_labels(tmp_path, server):
    path = tmp_path / "mine.toml"
    changed = shipped_rubric().replace("Do not round up to be safe", "Be strict", 1)
    path.write_text(changed.replace('version = "1"', 'version = "strict"', 1))
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1, rubric=path))
    assert b"Be strict" in server.bodies[0]
    version = load_rubric(path).version
    assert version.startswith("strict-")
    assert read_labels(tmp_path / "l")["rubric"].unique().to_list() == [version]
    manifest = json.loads((tmp_path / "l" / "manifest.json").read_text())
    assert manifest["rubric"] == version
    with pytest.raises(LeadlineError, match="another setup of m-1"):
        label_cohort(cohort, tmp_path / "l", config(server, "openai", draws=1))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "FileNotFoundError"),
        ("version = ", "TOMLDecodeError"),
        ('version = "1"', "KeyError"),
        (shipped_rubric().replace('name = "sleep"', 'name = "dreams"'), "Item 3 of"),
        ("x = {dreams = 1, dreams = 2}", "TOMLDecodeError"),
    ],
)
def test_a_rubric_that_does_not_ask_the_nine_items_is_refused(tmp_path, text, match):
    path = tmp_path / "rubric.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LeadlineError, match=match) as error:
        load_rubric(path)
    assert str(path) in str(error.value)
    assert "dreams" not in str(error.value)
