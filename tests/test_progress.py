from leadline.progress import progress_bar, step_by


def test_nothing_is_drawn_where_stderr_is_no_terminal(capsys):
    with progress_bar("Reading") as advance:
        advance(1, 3)
        advance(3, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == ""


def test_a_terminal_sees_what_is_done(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("Reading") as advance:
        advance(3, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Reading" in captured.err
    assert "100%" in captured.err


def test_steps_are_added_up():
    calls = []
    step = step_by(lambda *call: calls.append(call), 7)
    for count in (2, 0, 5):
        step(count)
    assert calls == [(2, 7), (2, 7), (7, 7)]
