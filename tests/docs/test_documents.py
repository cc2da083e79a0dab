"""The documents say what the program does: commands run, links resolve, help is current."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bench.tables import rendered_pages
from tests.support import ROOT

from leadline.readers.fetch import is_fetched
from leadline.simulate.cohort import simulate_cohort
from leadline.simulate.config import preset

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_resolve(page: Path) -> None:
    missing = [
        target
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("script", ["make_cli.py", "make_map.py", "make_simulator_svg.py"])
def test_what_a_script_of_the_documents_writes_is_current(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / script), "--check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_measured_tables_are_what_the_bench_wrote() -> None:
    pages = rendered_pages()
    assert {page.name for page in pages} >= {"README.md", "selftraining.md", "teachers.md"}
    changed = [page.name for page, text in pages.items() if page.read_text("utf-8") != text]
    assert changed == [], "run: python -m bench tables"


def readme_commands() -> list[str]:
    """The commands of the README's section on one's own data."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## Your own data", 1)[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return [line.split("#")[0].strip() for line in block.group(1).splitlines() if line.strip()]


def write_source(folder: Path) -> None:
    """chats.jsonl and phq9.csv as a user would have them, from simulated people."""
    config = preset("small", people=70, gold=70, locked=0, user_turns=8.0)
    cohort = simulate_cohort(folder / "simulated", config)
    with (folder / "chats.jsonl").open("w", encoding="utf-8") as stream:
        for (person, talk), rows in cohort.turns.group_by(
            "person_id", "conversation_id", maintain_order=True
        ):
            messages = [
                {"role": role, "content": text, "time": time.isoformat()}
                for role, text, time in rows.select("role", "text", "time").iter_rows()
            ]
            entry = {"person_id": person, "conversation_id": talk, "messages": messages}
            stream.write(json.dumps(entry) + "\n")
    cohort.phq9.select("person_id", "time", "total").with_columns(
        pl.col("total").cast(pl.Int64), pl.col("time").dt.to_string("iso:strict")
    ).write_csv(folder / "phq9.csv")


@pytest.mark.slow
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    write_source(tmp_path)
    commands = readme_commands()
    assert len(commands) >= 6
    for command in commands:
        words = command.split()
        assert words[0] == "leadline"
        run = [sys.executable, "-c", "from leadline.cli.app import main; main()", *words[1:]]
        done = subprocess.run(
            run,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    estimates = pl.read_parquet(tmp_path / "estimates.parquet")
    assert estimates.height > 0
    assert estimates["mean"].is_between(0, 27).all()
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
def test_the_course_from_python_runs_as_the_page_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_fetched("minilm"):
        pytest.skip("the reader minilm is not fetched: leadline reader fetch minilm")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert {"leadline", "tf-idf"} <= set(names["table"]["model"])
    course = names["course"]
    assert course.height == 3
    assert (course["lower"] <= course["mean"]).all()
    assert names["everybody"].height == names["counts"]["estimates"] > 0
    assert (tmp_path / "run" / "report.html").is_file()
    assert "no-such-folder" not in names["problem"]
