"""Thoughts are told from answers, forgotten unless asked for; a cut one is a counted failure."""

from __future__ import annotations

import logging
import stat

import pytest
from tests.support.teacher_cohort import BOTH, MODES, config, make_cohort, texts
from tests.support.teacher_server import THOUGHT, THOUGHT_TOKENS

from leadline.errors import LeadlineError
from leadline.teacher.label import label_cohort
from leadline.teacher.label_table import read_labels
from leadline.teacher.thoughts import CUT_THOUGHT, THOUGHTS, open_thoughts, split_thoughts

PLACES = pytest.mark.parametrize(
    ("teacher", "model"),
    [("anthropic", "m"), ("openai", "m-vllm"), ("openai", "m-llama"), ("openai", "m-inline")],
)


@pytest.mark.parametrize(
    ("text", "truncated", "parts"),
    [
        ('{"a": 1}', False, (None, '{"a": 1}')),
        ("<think>\nhm\n</think>\n\n{}", False, ("hm", "{}")),
        ("hm</think>{}", False, ("hm", "{}")),
        ("<think></think>{}", False, (None, "{}")),
        ("<think>\nhm, hm", True, ("hm, hm", "")),
        ("hm, hm", True, ("hm, hm", "")),
        ('{"quote": "</think>"}', False, (None, '{"quote": "</think>"}')),
        ('{"quote": "cut', True, (None, '{"quote": "cut')),
        ("I cannot rate that.", False, (None, "I cannot rate that.")),
        ("", True, (None, "")),
    ],
)
def test_thoughts_are_told_from_answers(text, truncated, parts):
    assert split_thoughts(text, truncated=truncated) == parts


def stored(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@PLACES
@MODES
def test_thoughts_are_nowhere_unless_asked_for(
    tmp_path, server, teacher, model, batch, caplog, capfd
):
    words = ["fine PONDER", "fine INVALID", "fine REFUSE", *texts(3)]
    cohort = make_cohort(tmp_path / "c", words, locked=0)
    settings = config(server, teacher, model=model, batch=batch, draws=1, reasoning="low")
    with caplog.at_level(logging.INFO):
        report = label_cohort(cohort, tmp_path / "l", settings)
    assert report["states"]["done"] == 3
    out, err = capfd.readouterr()
    everywhere = stored(tmp_path / "l") + (caplog.text + out + err + str(report)).encode()
    assert THOUGHT.encode() not in everywhere
    assert not (tmp_path / "l" / THOUGHTS).exists()


@MODES
def test_what_cannot_be_told_from_a_thought_is_no_label_and_is_not_stored(tmp_path, server, batch):
    cohort = make_cohort(tmp_path / "c", texts(3), locked=0)
    settings = config(server, "openai", model="m-bare", batch=batch, draws=1, reasoning="low")
    report = label_cohort(cohort, tmp_path / "l", settings)
    assert (report["states"]["invalid"], report["labels"]) == (3, 0)
    assert report["usage"]["reasoning_tokens"] == 3 * THOUGHT_TOKENS
    assert THOUGHT.encode() not in stored(tmp_path / "l")


@PLACES
@MODES
def test_kept_thoughts_lie_in_a_file_of_their_own_that_only_its_owner_reads(
    tmp_path, server, teacher, model, batch
):
    cohort = make_cohort(tmp_path / "c", ["fine PONDER", *texts(3)], locked=0)
    settings = config(
        server, teacher, model=model, batch=batch, draws=1, reasoning="low", keep_thoughts=True
    )
    assert label_cohort(cohort, tmp_path / "l", settings)["labels"] == 3
    path = tmp_path / "l" / THOUGHTS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_thoughts(path) as thoughts:
        rows = list(thoughts.read())
    assert [text for _, text in rows] == [THOUGHT] * 4
    assert len({key for key, _ in rows}) == 4
    path.unlink()
    assert THOUGHT.encode() not in stored(tmp_path / "l")
    assert read_labels(tmp_path / "l").height == 3


def test_a_file_of_thoughts_that_others_could_read_is_closed_to_them(tmp_path):
    path = tmp_path / THOUGHTS
    path.touch(mode=0o644)
    with open_thoughts(path) as thoughts:
        thoughts.keep([("k", "t")])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("no database " * 100)
    with pytest.raises(LeadlineError, match="not a file of thoughts"), open_thoughts(path):
        pass


@BOTH
@MODES
def test_a_thought_that_was_cut_off_is_counted_and_tried_again_with_more_room(
    tmp_path, server, teacher, batch
):
    cohort = make_cohort(tmp_path / "c", ["fine PONDER", "fine TRUNCATE", "fine"], locked=0)
    settings = config(server, teacher, batch=batch, draws=1, reasoning="low")
    report = label_cohort(cohort, tmp_path / "l", settings)
    assert (report["states"]["truncated"], report["states"]["done"]) == (2, 1)
    assert report["errors"][CUT_THOUGHT] == 1
    assert report["usage"]["output_tokens"] == 3 * 750  # paid for, so counted
    asked = len(server.asked)
    roomy = config(
        server, teacher, draws=1, reasoning="low", thought_tokens=16_000, repeat="truncated"
    )
    label_cohort(cohort, tmp_path / "l", roomy)
    assert len(server.asked) == asked + 2
    assert b'"max_tokens":18000' in server.bodies[-1].replace(b" ", b"")
