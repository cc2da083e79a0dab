"""The command line, called in this process."""

import sys

import pytest

from leadline.cli.app import main


@pytest.fixture
def leadline(monkeypatch, capsys, home):
    """Run a command line in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("LEADLINE_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["leadline", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run
