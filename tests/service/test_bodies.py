"""What may be sent: limits that hold, names that are not known, and nothing repeated."""

import pytest
from pydantic import BaseModel, ValidationError
from tests.support.served import message, phq9

from leadline.service import bodies

KINDS = [kind for kind in vars(bodies).values() if isinstance(kind, type)]
SENT = [kind for kind in KINDS if issubclass(kind, bodies.Body) and kind is not bodies.Body]
CANARY = "canaryword"


@pytest.mark.parametrize("kind", SENT, ids=lambda kind: kind.__name__)
def test_what_is_not_known_is_refused_and_no_input_is_shown(kind):
    with pytest.raises(ValidationError) as refused:
        kind.model_validate({CANARY: CANARY})
    assert {error["type"] for error in refused.value.errors()} >= {"extra_forbidden"}
    assert f"input_value='{CANARY}'" not in str(refused.value)


@pytest.mark.parametrize("wrong", [
    {"time": "2026-03-01T10:00:00"},  # no zone
    {"time": 1772359200}, {"time": "1772359200"}, {"time": 1772359200000.0}, {"time": "2026-03-01"},
    {"time": "yesterday"}, {"text": None}, {"text": "x" * (bodies.LONGEST_TEXT + 1)},
    {"role": "bot"}, {"id": ""}, {"person": "p" * 201}, {"turn": -1}, {"turn": 2**31},
])  # fmt: skip
def test_a_message_is_within_its_limits(wrong):
    whole = message("m")
    assert bodies.MessageBody.model_validate(whole).turn == 0
    with pytest.raises(ValidationError):
        bodies.MessageBody.model_validate(whole | wrong)


@pytest.mark.parametrize("wrong", [
    {"total": 28}, {"total": -1}, {"total": float("nan")}, {"items": [4] * 9}, {"items": [0] * 10},
    {"items": [True] * 9}, {"items": ["1"] * 9}, {"total": "12"}, {"instrument": "gad7"},
])  # fmt: skip
def test_a_phq9_is_within_its_limits(wrong):
    whole = phq9("q")
    assert bodies.Phq9Body.model_validate(whole).total == 12
    with pytest.raises(ValidationError):
        bodies.Phq9Body.model_validate(whole | wrong)


@pytest.mark.parametrize("count", [0, bodies.BATCH + 1])
def test_a_batch_is_neither_empty_nor_above_its_limit(count):
    batch = [message(str(number)) for number in range(count)]
    with pytest.raises(ValidationError):
        bodies.MessagesBody.model_validate({"messages": batch})
    assert bodies.MessagesBody.model_validate({"messages": [message("m")] * bodies.BATCH})


def test_every_answer_about_severity_says_what_it_is():
    names = ("PersonCourse", "PersonEstimates", "Worklist")
    about = [kind for kind in KINDS if issubclass(kind, BaseModel) and kind.__name__ in names]
    assert len(about) == 3
    for kind in about:
        assert kind.model_fields["statement"].default == bodies.STATEMENT
    for words in ("not a PHQ-9 response", "not a diagnosis", "not a crisis service"):
        assert words in bodies.STATEMENT
