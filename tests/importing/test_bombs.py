"""Hostile sources cost what they weigh: time and memory of each, in a process of its own.

Each of them is small. On the reader before, one took minutes, another filled the memory, a third
ended the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.workbooks import TABLE, TEXTS, row, write_workbook

SECONDS = 6.0  # of processor time for one of them; most take below one
MEGABYTES = 700  # that one may take beside what the program itself does

TURNS = "person_id,role,text\np,user,low\n"


def deep(levels: int, opening: str, closing: str, inner: str = "1") -> str:
    return opening * levels + inner + closing * levels


def observation(number: int) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "valueInteger": 9,
            "effectiveDateTime": f"2024-05-02T00:00:{number % 60:02}Z",
            "subject": {"reference": "Patient/p"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "44261-6"}]}}  # fmt: skip


def message(number: int, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": f"words {number}", **more}


def conversation(messages: list[Any], **more: Any) -> str:
    return json.dumps([{"person_id": "p", "id": "c", "messages": messages, **more}])


def tree(count: int) -> str:
    """Nodes without a message in a chain, and as many messages that hang on its end."""
    nodes: dict[str, Any] = {
        str(n): {"id": str(n), "parent": str(n - 1) if n else None, "children": []}
        for n in range(count)
    }
    for n in range(count, 2 * count):
        said = {"author": {"role": "user"}, "content": {"parts": [f"words {n}"]},
                "create_time": 1714557600 + n}  # fmt: skip
        nodes[str(n)] = {"id": str(n), "parent": str(count - 1), "children": [], "message": said}
    return json.dumps([{"id": "c", "user_id": "p", "mapping": nodes}])


def chain(count: int) -> str:
    messages = [message(n, id=str(n), parent_id=str(n - 1) if n else None) for n in range(count)]
    return conversation(messages[::-1])


def table(rows: int, columns: dict[str, Any], **how: Any) -> bytes:
    person = {"person_id": ["p"] * rows, "role": ["user"] * rows}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({**person, **columns}), sink, **{"compression": "zstd", **how})
    return bytes(sink.getvalue())


def one_text(rows: int) -> bytes:
    places = pa.array([0] * rows, type=pa.int32())
    return table(rows, {"text": pa.DictionaryArray.from_arrays(places, ["x " * 49_000])})


def workbook(folder: Path, **parts: Any) -> bytes:
    return write_workbook(folder / "made.xlsx", **parts).read_bytes()


FAR = TABLE + '<row r="1048576"><c r="XFD1048576" t="s"><v>5</v></c></row>'
ROWS = TABLE + "".join(row(number, (3, 4, 5)) for number in range(3, 30_000))
LONG = (*TEXTS[:5], "x " * 15_000)

SOURCES: dict[str, tuple[str, Callable[[Path], str | bytes]]] = {
    # JSON
    "levels": ("a.json", lambda _: deep(200_000, "[", "]")),
    "levels of objects": ("a.json", lambda _: deep(200_000, '{"messages":', "}")),
    "levels that Python opens": (
        "a.json", lambda _: conversation([]).replace("[]", deep(900, "[", "]")),
    ),
    "levels in a content": (
        "a.json",
        lambda _: conversation([message(0)]).replace('"words 0"', deep(900, '{"content":', "}")),
    ),
    "a number without an end": ("a.json", lambda _: conversation([message(0, time=0)]).replace(
        '"time": 0', f'"time": {"9" * 200_000}')),
    "a number beyond floats": ("a.json", lambda _: conversation([message(0, time=0)]).replace(
        '"time": 0', '"time": 1e999')),
    "keys": ("a.json", lambda _: conversation([message(0)], **{f"k{n}": n for n in range(20_000)})),
    "keys of a message": (
        "a.json", lambda _: conversation([message(0, **{f"k{n}": n for n in range(20_000)})]),
    ),
    "one key of a megabyte": ("a.json", lambda _: conversation(
        [message(0, **{"phq_9" * 2**18: 1})])),
    "a chain of messages": ("a.json", lambda _: chain(20_000)),
    "a chain of nodes": ("a.json", lambda _: tree(8_000)),
    "one line": ("a.jsonl", lambda _: conversation([message(n) for n in range(20_000)])[1:-1]),
    # text
    "columns": ("a.csv", lambda _: ",".join(f"k{n}" for n in range(15_000)) + "\n"),
    "columns without names": ("a.csv", lambda _: "," * 3_000_000),
    "one column many times": ("a.csv", lambda _: ",".join(["k"] * 19_000) + "\n"),
    "columns that look like texts": (
        "a.csv", lambda _: "person_id,role," + ",".join(f"text{n}_message" for n in range(9_000)),
    ),
    "a line without an end": ("a.csv", lambda _: "x" * 5_000_000),
    "quotes": ("a.csv", lambda _: TURNS + 'p,user,"' + '""' * 2_000_000),
    "blank lines": ("a.csv", lambda _: TURNS + "\n" * 1_000_000),
    "spaces in a cell": (
        "a.csv", lambda _: 'person_id,chat\np,"User: a\nBot: b\n' + " " * 90_000 + 'x"\n',
    ),
    "clocks in a cell": (
        "a.csv", lambda _: 'person_id,chat\np,"User: a\nBot: b\n' + "12:30 - " * 12_000 + 'x"\n',
    ),
    "a literal": ("a.csv", lambda _: 'person_id,messages\np,"[{\'a\':' + "[" * 90_000 + '"\n'),
    "a literal of numbers": (
        "a.csv", lambda _: 'person_id,messages\np,"[{\'a\': [' + "1," * 500_000 + ']}]"\n',
    ),
    "lines of a post": (
        "a.txt", lambda _: "13/05/2024, 10:00 - Ann: low\n" + "more\n" * 300_000,
    ),
    # packed
    "one text in each row": ("a.parquet", lambda _: one_text(400_000)),
    "one text in many rows": ("a.parquet", lambda _: one_text(1_500)),
    "one text, plain": (
        "a.parquet", lambda _: table(
            2_000, {"text": ["x " * 49_000] * 2_000}, use_dictionary=False),
    ),
    "rows of nothing": ("a.parquet", lambda _: table(
        3_000_000, {"text": pa.nulls(3_000_000, "string")})),
    "lists of one text": (
        "a.parquet", lambda _: table(1_000, {"messages": [[message(0)] * 1_000] * 1_000}),
    ),
    "a cell far away": ("a.xlsx", lambda folder: workbook(folder, rows=FAR)),
    "a shared text in each row": ("a.xlsx", lambda folder: workbook(folder, rows=ROWS, texts=LONG)),
    "sheets": ("a.xlsx", lambda folder: workbook(folder, rows=ROWS, sheets=2_000)),
    "a part of zeros": (
        "a.xlsx", lambda folder: workbook(folder, texts=(*TEXTS[:5], "0" * 90_000_000)),
    ),
    "entities": ("a.xlsx", lambda folder: workbook(folder, texts=(*TEXTS[:5], "&b;"), before=(
        '<!DOCTYPE s [<!ENTITY a "' + "x" * 100 + '"><!ENTITY b "' + "&a;" * 10_000 + '">]>'))),
    "an archive": ("a.zip", lambda _: b"PK\x03\x04" + bytes(100)),
    # labels
    "columns of labels": (
        "l.csv", lambda _: "person_id,total," + ",".join(f"k{n}" for n in range(3_000)) + "\np,3"
        + ",1" * 3_000 + "\n",
    ),
    "visits": ("l.csv", lambda _: "person_id," + ",".join(f"phq9_visit{n}" for n in range(900))
               + "\np" + ",1" * 900 + "\n"),
    "answers of one time": ("l.json", lambda _: json.dumps([observation(0)] * 12_000)),
    "bundles in bundles": ("l.json", lambda _: deep(
        800, '{"resourceType":"Bundle","entry":[{"resource":', "}]}", json.dumps(observation(0)))),
    "items in items": ("l.json", lambda _: json.dumps({
        "resourceType": "QuestionnaireResponse", "status": "completed",
        "subject": {"reference": "Patient/p"}, "item": 0}).replace(
            ": 0", ": " + deep(800, '[{"linkId":"a","item":', "}]", "[]"))),
}  # fmt: skip

CODE = """
import sys, time
from pathlib import Path
from leadline.importing.importing import import_files
from leadline.sources.config import ImportConfig
from leadline.errors import LeadlineError
folder, good = Path(sys.argv[1]), Path(sys.argv[2])
def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024
def go(source, out, **settings):
    try:
        import_files(source, ImportConfig(timezone="UTC", date_order="dmy", **settings), out)
        return "read"
    except LeadlineError as error:
        return "refused: " + error.problem
go(good, folder / "first")
for source in sorted(folder.glob("*.case/*.*")):
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began = memory("VmRSS"), time.process_time()
    if source.name.startswith("l."):
        what = go(good, source.parent / "out", phq9=source)
    else:
        what = go(source, source.parent / "out")
    cost = (time.process_time() - began, memory("VmHWM") - before)
    print(source.parent.stem, *cost, what, sep="\\t", flush=True)
"""


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, float, str]]:
    """Seconds, megabytes and verdict of each source, read one after another by one process."""
    folder = tmp_path_factory.mktemp("bombs")
    good = folder / "good.csv"
    good.write_text(TURNS)
    for name, (file, make) in SOURCES.items():
        here = folder / f"{name}.case"
        here.mkdir()
        content = make(folder)
        (here / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), str(good)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {name: (float(seconds), float(size), what) for name, seconds, size, what in rows}


def test_every_source_is_read_or_refused_at_a_cost_in_proportion(
    costs: dict[str, tuple[float, float, str]],
) -> None:
    assert set(costs) == set(SOURCES)
    assert {name: cost for name, cost in costs.items() if cost[0] > SECONDS} == {}
    assert {name: cost for name, cost in costs.items() if cost[1] > MEGABYTES} == {}


REFUSED = ("one text in each row", "one text, plain", "rows of nothing", "a cell far away",
           "a shared text in each row", "sheets", "a part of zeros")  # fmt: skip


def test_what_unfolds_is_refused_before_it_does(costs: dict[str, tuple[float, float, str]]) -> None:
    for name in REFUSED:
        assert "unfolds to many times" in costs[name][2], name
