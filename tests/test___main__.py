"""`python -m leadline` is the command line."""

import runpy
import sys

import pytest

from leadline import __version__


def test_it_runs_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["leadline", "--version"])
    runpy.run_module("leadline", run_name="__main__")
    assert __version__ in capsys.readouterr().out


def test_a_mistake_exits_with_2_here_too(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["leadline", "inspect", str(tmp_path / "absent")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("leadline", run_name="__main__")
    assert stop.value.code == 2
    assert "What to do" in capsys.readouterr().err
