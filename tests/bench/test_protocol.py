"""A bench is listed, runs by its name, and stays while a document or a test needs it."""

import argparse
import json
import os
import subprocess
import sys

import pytest
from bench.protocol import (
    bench_names,
    call_of,
    call_today,
    describe,
    load_bench,
    run_bench,
    unused_benches,
)
from tests.support import ROOT

from bench import common, protocol


def bench(*words):
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=True,
    )


def test_the_list_has_every_module_of_the_shelves():
    shelves = [file.parent for file in ROOT.glob("bench/*/__init__.py")]
    modules = {
        f"{shelf.name}.{file.stem}"
        for shelf in shelves
        for file in shelf.glob("*.py")
        if shelf.name != "tables" and file.stem != "__init__"
    }
    assert set(bench_names()) == modules
    listed = bench("list").stdout
    assert all(f"{name}\n    {describe(name)[0]}\n    Takes " in listed for name in modules)


@pytest.mark.parametrize("name", bench_names())
def test_each_says_what_it_measures_and_follows_the_protocol(name):
    what, takes = describe(name)
    assert what.endswith(".")
    assert takes
    module = load_bench(name)
    assert callable(module.measure)
    assert callable(module.rows)
    assert hasattr(module, "RESULT") != hasattr(module, "result")


@pytest.mark.parametrize("name", bench_names())
def test_its_documentation_calls_it_by_its_name(name):
    text = sys.modules[load_bench(name).__name__].__doc__
    if "python" in text:
        assert f"python -m bench run {name}" in text


def test_a_bench_stays_while_a_document_prints_its_figure_or_a_test_runs_it(monkeypatch):
    assert unused_benches() == []
    monkeypatch.setattr(protocol, "bench_names", lambda: ["speed.start", "speed.nowhere"])
    assert unused_benches() == ["speed.nowhere"]


def test_one_runs_to_its_result_and_its_rows(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    results = run_bench("gpu.resources_table", [])
    out, err = capsys.readouterr()
    stored = json.loads((tmp_path / "training_resources.json").read_text())
    assert stored == json.loads(out) == results
    assert list(stored)[:3] == ["date", "machine", "command"]
    assert stored["command"] == "python -m bench run gpu.resources_table"
    assert "weights, bfloat16: 47.7 GiB" in err
    committed = json.loads((ROOT / "bench" / "results" / "training_resources.json").read_text())
    assert stored["rows"] == committed["rows"]


def test_a_name_that_is_none_is_answered_with_the_list():
    with pytest.raises(SystemExit, match=r"no bench 'speed\.light'; these are: accuracy\."):
        run_bench("speed.light", [])


def test_a_module_runs_by_itself():
    code = [sys.executable, "-m", "bench.speed.importing", "--help"]
    out = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "usage: python -m bench run speed.importing" in out


def test_a_recorded_call_names_no_folder_and_old_ones_are_shown_as_of_today(tmp_path):
    args = argparse.Namespace(work=tmp_path, fit="network")
    words = ["--work", str(tmp_path), "--fit", "network"]
    recorded = call_of("selftraining.ablation", words, args)
    assert recorded == "python -m bench run selftraining.ablation --work DIR --fit network"
    assert call_today("selftraining.ablation", recorded) == recorded
    old = "python bench/" + "selftrain_ablation.py --work DIR --fit network"
    assert call_today("selftraining.ablation", old) == recorded


def test_a_table_of_the_documents_that_was_edited_is_found(monkeypatch):
    from bench import __main__ as command
    from bench import tables

    pages = tables.rendered_pages()
    monkeypatch.setattr(tables, "rendered_pages", lambda: pages)
    command.write_tables(check=True)
    path = ROOT / "docs" / "teachers.md"
    pages[path] = pages[path].replace("202,650 input", "202,651 input")
    with pytest.raises(SystemExit, match=r"teachers\.md is out of date"):
        command.write_tables(check=True)


def test_what_stands_outside_the_marks_of_a_page_is_left_alone():
    from bench.tables import with_part

    page = "above\n<!-- bench:x:start -->\nold\n<!-- bench:x:end -->\nbelow\n"
    assert with_part(page, "bench:x", "new\n") == page.replace("old", "new")
