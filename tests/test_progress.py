import pytest

from leadline import progress
from leadline.progress import in_words, progress_bar, step_by, tokens_read


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    seconds = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: seconds[0])
    return seconds


def test_nothing_is_drawn_where_stderr_is_no_terminal_and_work_is_short(capsys, clock):
    with progress_bar("Reading") as advance:
        advance(1, 3)
        clock[0] += 4
        advance(3, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == ""


def test_a_log_has_a_line_after_seconds_and_then_now_and_then(capsys, clock):
    with progress_bar("Reading", "tokens") as bar:
        for position in range(0, 1001, 100):
            tokens_read(100 if position else 0)
            bar(position, 1000)
            clock[0] += 6
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Reading: 10%, 100 of 1,000 tokens, 17 a second, about 54 s left",
        "Reading: 60%, 600 of 1,000 tokens, 17 a second, about 24 s left",
    ]


def test_a_terminal_sees_what_is_done(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("Reading") as advance:
        advance(3, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Reading" in captured.err
    assert "100%" in captured.err


def test_tokens_show_before_the_first_people_are_done(capsys, clock):
    with progress_bar("Scoring", "people") as bar:
        bar(0, 64)
        clock[0] += 6
        tokens_read(768)
        assert bar.figures() == "0 of 64 people, 768 tokens, 128 a second"
    assert "Scoring: 0%, 0 of 64 people, 768 tokens, 128 a second" in capsys.readouterr().err


def test_tokens_count_for_the_innermost_bar_alone():
    tokens_read(5)  # nobody shows them
    with progress_bar("Training") as outer:
        with progress_bar("Reading") as inner:
            tokens_read(5)
        tokens_read(2)
    assert (outer.tokens, inner.tokens) == (2, 5)


def test_where_there_was_nothing_to_do_it_is_done(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("Reading", "tokens") as bar:
        bar(0, 0)
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (130, "2 min"), (7100, "118 min"), (7260, "2 h 1 min")],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert in_words(seconds) == words


def test_steps_are_added_up():
    calls = []
    step = step_by(lambda *call: calls.append(call), 7)
    for count in (2, 0, 5):
        step(count)
    assert calls == [(2, 7), (2, 7), (7, 7)]
