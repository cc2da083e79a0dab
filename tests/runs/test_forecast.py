"""How long reading takes is said once, by the speed of before or by the first seconds."""

from __future__ import annotations

import stat
from types import SimpleNamespace

import pytest
import torch

from leadline.progress import progress_bar
from leadline.readers.config import ReaderConfig
from leadline.readers.language import LMReader
from leadline.runs import forecast
from leadline.runs.forecast import Forecast, kept_speeds

BARE = SimpleNamespace(identity="a" * 64)


@pytest.fixture
def clock(monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(forecast, "monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def said(tmp_path, clock, capsys):
    """What is said while positions come at their seconds, by readers after one another."""

    def run(moves, readers=(("big", BARE),)):
        names, each = zip(*readers, strict=True)
        source = SimpleNamespace(names=names, readers=each, home=tmp_path)
        with progress_bar("Reading", "tokens") as bar:
            told = Forecast(source, bar)
            start = clock[0]
            for seconds, position, total in moves:
                clock[0] = start + seconds
                told(position, total)
            told.keep()
        return [line for line in capsys.readouterr().err.splitlines() if "takes about" in line]

    return run


LONG = [(0, 0, 90_000), (2, 900, 90_000), (4, 1800, 90_000), (6, 2700, 90_000)]


def test_the_first_time_it_is_said_once_after_some_seconds(said):
    (line,) = said(LONG)
    assert "some 90,000 tokens with big takes about 3 min, by its first seconds: 450" in line


def test_the_next_time_it_is_said_before_the_first_token(said, tmp_path):
    said(LONG)
    (speed,) = kept_speeds(tmp_path).values()
    assert speed == pytest.approx(450)
    (line,) = said(LONG[:1])
    assert "takes about 3 min, as this machine read before" in line
    (file,) = (tmp_path / "states").glob("speeds.json*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_short_reading_is_not_announced(said):
    assert said([(0, 0, 3000), (4, 1800, 3000), (7, 3000, 3000)]) == []
    assert said([(0, 0, 3000)]) == []


def test_each_reader_has_its_own_speed(said, tmp_path):
    other = SimpleNamespace(identity="b" * 64)
    moves = [*LONG, (10, 0, 400), (11, 400, 400)]
    assert len(said(moves, (("big", BARE), ("small", other)))) == 1
    assert len(kept_speeds(tmp_path)) == 1  # of so few tokens none is kept


def test_a_damaged_file_of_speeds_is_none(said, tmp_path):
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "speeds.json").write_text("{", encoding="utf-8")
    assert kept_speeds(tmp_path) == {}
    assert len(said(LONG)) == 1


def test_minilm_is_named_where_float32_is_slow(said, language_paths):
    config = ReaderConfig(layers=(1,), dtype="float32")
    reader = LMReader(str(language_paths["llama"]), config, device=torch.device("cpu"))
    (line,) = said(LONG, (("tiny", reader),))
    assert "MiniLM (--reader minilm) takes a tenth" in line
    assert "MiniLM" not in said(LONG)[0]
