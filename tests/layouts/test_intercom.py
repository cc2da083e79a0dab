"""Intercom: the odd cases that real exports hold."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.imports import import_beside, import_cohort, turns_of, words_of, write_source

from leadline.errors import LeadlineError
from leadline.layouts.intercom import html_to_text
from leadline.sources.config import ImportConfig


def exported(tmp_path: Path, **changes: Any) -> Path:
    conversation = {
        "id": "7", "created_at": 1714557600, "contacts": {"contacts": [{"id": "p"}]},
        "source": {"body": "hello", "author": {"type": "user", "id": "p"}},
        "conversation_parts": {"conversation_parts": []}, **changes,
    }  # fmt: skip
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps(conversation))
    return path


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"id": None}, "id is missing"),
        ({"contacts": {"contacts": [{"id": "p"}, {"id": "q"}]}}, "more than one contact"),
        ({"conversation_parts": {"conversation_parts": 5}}, "no list"),
        ({"conversation_parts": {"conversation_parts": [5]}}, "not a JSON object"),
        ({"source": {"body": "hello", "author": None}}, "role is missing"),
        ({"source": {"body": 5, "author": {"type": "user"}}}, "not text"),
        ({"source": {"body": "hi", "author": {"type": "spirit"}}}, "not clear"),
        ({"created_at": "soon"}, "ISO 8601"),
    ],
)
def test_bad_intercom(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(LeadlineError, match=match) as caught:
        import_beside(exported(tmp_path, **changes))
    assert str(caught.value.row).startswith("line 1")


def test_without_contacts_the_author_is_the_person(tmp_path: Path) -> None:
    assert words_of(import_beside(exported(tmp_path, contacts=None))) == [("p", "user", "hello")]
    own = exported(tmp_path, account="x9")
    cohort = import_cohort(own, ImportConfig(person_key="account"), tmp_path / "second")
    assert words_of(cohort) == [("x9", "user", "hello")]


def test_admins_can_be_assistants(tmp_path: Path) -> None:
    part = {"body": "hi", "author": {"type": "admin"}, "created_at": 1714557700}
    path = exported(tmp_path, conversation_parts=[part])
    assert words_of(import_beside(path, role=("admin=assistant",)))[1] == ("p", "assistant", "hi")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>a</p><p>b</p>", "a\nb"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        ("a &lt;b&gt; &amp; c&nbsp;d &#8217;", "a <b> & c\u00a0d \u2019"),
        ("<style>x</style><script>y</script>z", "z"),
        ("5 < 6 and 7 > 2", "5 < 6 and 7 > 2"),
        ("<a href='x'>link</a>  and\n  more", "link and more"),
        ("<p>unclosed", "unclosed"),
    ],
)
def test_html(html: str, text: str) -> None:
    assert html_to_text(html) == text


def test_intercom(tmp_path: Path) -> None:
    def part(kind: str, body: str | None, **more: Any) -> dict[str, Any]:
        return {"part_type": "comment", "body": body, "created_at": 1714557700,
                "author": {"type": kind, "id": "a9", "name": "N"}, **more}  # fmt: skip

    source = write_source(tmp_path, "export.json", {"type": "conversation.list", "conversations": [{
        "type": "conversation", "id": "77", "created_at": 1714557600,
        "contacts": {"contacts": [{"id": "x1", "external_id": "p7"}]},
        "source": {"body": "<p>Hi &amp; <b>help</b></p><p>me</p>", "author": {"type": "lead"}},
        "conversation_parts": {"conversation_parts": [
            part("bot", "Welcome"), part("admin", "secret", part_type="note"),
            part("admin", None, part_type="assignment"), part("user", "<img src=x>"),
            part("admin", "I am <i>here</i>"), part("user", "thanks", created_at=1714557800),
        ]},
    }]})  # fmt: skip
    cohort = import_beside(source)
    assert turns_of(cohort) == [
        ("p7", "77", 0, "user", "Hi & help\nme"),
        ("p7", "77", 1, "assistant", "Welcome"),
        ("p7", "77", 2, "clinician", "I am here"),
        ("p7", "77", 3, "user", "thanks"),
    ]
    assert "secret" not in json.dumps(cohort.manifest)
    assert cohort.manifest["import"]["transformations"]["internal notes, left out"] == 1


@given(st.text())
def test_html_to_text_never_fails(text: str) -> None:
    html_to_text(text)
    assert "<p>" not in html_to_text(f"<p>{text}</p>")


BOMBS = {
    "open tags": '<a "', "open comments": "<!--", "marked sections": "<![", "quotes": """<b '"> """,
    "nested": """<b '>' " \"""", "numbers": "&#9", "entities": "&", "less": "<", "closed": "<p>",
    "scripts": "<script>", "declarations": "<!", "instructions": "<?x ", "slashes": "</",
    "short comments": "<!--a>",
}  # fmt: skip


@pytest.mark.parametrize("end", ["", ">", "-->"])
@pytest.mark.parametrize("case", BOMBS)
def test_hostile_html_costs_what_it_weighs(case: str, end: str) -> None:
    body = BOMBS[case] * (400_000 // len(BOMBS[case])) + end
    start = time.perf_counter()
    html_to_text(body)
    assert time.perf_counter() - start < 20, "generous: most take below a second"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("I feel <![ canary hopeless", "I feel <![ canary hopeless"),
        ("well <![CANARY[ x", "well <![CANARY[ x"),
        ("a &#" + "9" * 5_000 + "; b", "a \ufffd b"),
        ('<img alt="a > b">seen', "seen"),
        ("5 < 6 and 7 > 6", "5 < 6 and 7 > 6"),
        ("<!-- note -->said", "said"),
        ("<!-- never closed", "<!-- never closed"),
    ],
)
def test_broken_markup_is_text_and_no_error(body: str, text: str) -> None:
    assert html_to_text(body) == text
