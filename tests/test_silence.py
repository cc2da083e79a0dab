"""Dependencies send nothing: what they are told, before they are imported, whoever asks."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
from tests.support.canary import PERSON, WORD, holders, write_source
from tests.support.teacher_server import TeacherServer
from tests.support.watched import SERVING, tracer, watched

from leadline import silence
from leadline.cli.app import VERBS
from leadline.cli.monitor import build_monitor
from leadline.runs.verify import UNBOUND, verify

ASKED = dict.fromkeys(silence.TELEMETRY, "") | dict.fromkeys(silence.REQUEST_LOGS, "debug")

SAY = (
    "import os, json, sys; import leadline{more}; "
    "print(json.dumps([dict(os.environ), sorted(sys.modules)]))"
)


def environment_after(more: str = "") -> tuple[dict[str, str], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SAY.format(more=more)],
        env={**os.environ, **ASKED, "HF_HUB_OFFLINE": "0"}, capture_output=True, check=True,
    )  # fmt: skip
    variables, modules = json.loads(done.stdout)
    return variables, modules


def test_importing_leadline_switches_everything_off_before_anything_else_is_imported():
    variables, modules = environment_after()
    assert silence.TELEMETRY.items() <= variables.items()
    assert not {"ANTHROPIC_LOG", "OPENAI_LOG"} & variables.keys()
    others = {"onnxruntime", "ray", "huggingface_hub", "transformers", "anthropic", "openai"}
    assert not others & set(modules)


def test_who_loads_a_reader_asks_no_hub():
    variables, _ = environment_after(".readers.backbone")
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert environment_after()[0]["HF_HUB_OFFLINE"] == "0", "reader fetch may ask it"


def test_the_hub_client_understands_the_switch():
    code = "import leadline, huggingface_hub.constants as c; print(c.HF_HUB_DISABLE_TELEMETRY)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_onnx_runtime_leaves_no_device_number(tmp_path):
    pytest.importorskip("onnxruntime")
    code = (
        "import leadline, onnx, onnxruntime\n"
        "from onnx import helper, TensorProto as T\n"
        "ends = [[helper.make_tensor_value_info(n, T.FLOAT, [1])] for n in 'xy']\n"
        "graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'g', *ends)\n"
        "opsets = [helper.make_opsetid('', 18)]\n"
        "model = helper.make_model(graph, opset_imports=opsets, ir_version=9)\n"
        "onnxruntime.InferenceSession(model.SerializeToString(),"
        " providers=['CPUExecutionProvider'])\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("XDG_CACHE_HOME", None)
    environment["ORT_DISABLE_TELEMETRY"] = "0"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


FAST = ("--folds", "4", "--inner-folds", "2", "--fit", "ridge")


class Course:
    """Every verb once, on a cohort of canaries, in a folder of its own, watched."""

    def __init__(self, folder: Path, source: Path, reader: Path, teacher: str) -> None:
        self.folder, self.seen = folder, {}
        for name in ("home", "scratch", "out"):
            (folder / name).mkdir()
        cohort, run, out = folder / "out" / "cohort", folder / "out" / "run", folder / "out"
        fit = ("--reader", reader, *FAST)
        local = ("--teacher", "openai", "--model", "m", "--base-url", teacher, "--draws", "1")
        labels = ("--labels", out / "labels")
        score = ("score", cohort, "--run", run, "--out")
        self.go("import", source / "turns.csv", "--phq9", source / "phq9.csv", "--out", cohort)
        self.go("inspect", cohort)
        self.go("lock", cohort)
        self.go("relock", cohort)
        self.go("train", cohort, "--out", run, *fit)
        self.go("prior", "--on", cohort, "--out", out / "prior", "--reader", reader)
        self.go("ask", cohort, "--run", out / "prior", "--out", out / "asks.csv")
        self.go("label", cohort, "--out", out / "labels", *local, isolated=False)
        self.go("audit", cohort, *labels)
        self.go("selftrain", cohort, "--out", out / "rounds", *labels, *fit, "--rounds", "1")
        self.go(*score, out / "local.parquet")
        if find_spec("ray"):
            self.go(*score, out / "ray.parquet", "--engine", "ray", "--workers", "1")
        self.go("evaluate", run, "--cohort", cohort, "--open-locked-test")
        self.go("report", run, "--examples")
        if find_spec("onnxruntime"):
            self.go("export", run, "--out", out / "onnx")
        self.go("verify", run)
        self.go("reader", "list")
        self.go("simulate", "--out", folder / "simulated", "--preset", "small", "--limit")
        if find_spec("sqlalchemy"):
            self._monitor(cohort, run, out / "rounds", out)

    def _monitor(self, cohort: Path, run: Path, other: Path, out: Path) -> None:
        """Every verb of monitoring, on a store of the same people."""
        person = pl.read_parquet(cohort / "people.parquet")["person_id"][0]
        place = ("--store", out / "store.sqlite")

        def go(verb: str, *arguments: object) -> None:
            self.go("monitor", verb, *arguments, *place)

        go("init", "--run", run)
        go("load", cohort, "--consent", "simulated people")
        scopes = ("ingest", "care", "metrics")
        go("token", "--name", "app", "--json", *(w for s in scopes for w in ("--scope", s)))
        token = self.folder / "token.json"
        token.write_text(self.seen["monitor token"].out)
        go("score", "--states", out / "states", "--once")
        self.seen["monitor serve"] = watched(
            self.folder, token, person, WORD, *place, program=SERVING
        )
        token.unlink()
        go("nightly")
        go("rescore", "--run", other, "--json")
        model = json.loads(self.seen["monitor rescore"].out)["model"]
        go("promote", model)
        go("forget", person, "--yes")
        go("rekey", "--new-key-file", out / "new.key")
        self.go("monitor", "doctor", *place, "--key-file", out / "new.key")

    def go(self, verb: str, *arguments: object, isolated: bool = True) -> None:
        name = f"{verb} ray" if "ray" in arguments else verb
        name = f"{verb} {arguments[0]}" if verb == "monitor" else name
        self.seen[name] = watched(self.folder, verb, *arguments, isolated=isolated)


@pytest.fixture(scope="module")
def course(tmp_path_factory, simulated, sentence_reader):
    source = tmp_path_factory.mktemp("source")
    write_source(simulated.turns, simulated.phq9, source)
    with TeacherServer() as server:
        return Course(
            tmp_path_factory.mktemp("course"), source, sentence_reader, f"{server.url}/v1"
        )


@pytest.mark.slow
def test_the_course_has_every_verb_and_each_does_its_work(course):
    verbs = {name.split()[0] for name in course.seen}
    assert verbs == set(VERBS) - {"demo"}, "demo makes these steps in one process"
    if find_spec("sqlalchemy"):
        of_monitor = {name.split()[1] for name in course.seen if name.startswith("monitor ")}
        assert of_monitor == set(build_monitor().commands)
    failures = {name: step.err for name, step in course.seen.items() if step.code != 0}
    assert not failures, failures


@pytest.mark.slow
def test_no_verb_asks_for_anything_outside_the_machine(course):
    assert {name: step.outward for name, step in course.seen.items() if step.outward} == {}


@pytest.mark.slow
def test_no_verb_prints_a_word_or_a_name(course):
    for name, step in course.seen.items():
        for canary in (WORD, PERSON):
            assert canary not in step.out + step.err, name


@pytest.mark.slow
def test_words_lie_in_the_cohort_and_nowhere_else(course):
    assert holders(course.folder, WORD) <= {"out/cohort/turns.parquet"}


FREE = {"folds.parquet", "near_copies.parquet", "requests.sqlite"}
"""Files that change after the manifest, see tests/runs/test_verify.py; locks are empty."""


@pytest.mark.slow
def test_every_file_that_a_verb_writes_is_bound(course):
    artefacts = [path.parent for path in course.folder.rglob("manifest.json")]
    top = [path for path in artefacts if path.parent.name in ("out", course.folder.name)]
    assert {path.name for path in top} >= {"cohort", "labels", "run", "rounds", "simulated"}
    for path in top:
        found = {finding.file for finding in verify(path).findings if finding.state == UNBOUND}
        assert {file for file in found if not file.endswith(".lock")} <= FREE, path
        assert not verify(path).wrong


NAMED = {".parquet", ".sqlite", ".jsonl", ".csv"}
"""Tables by person; no page, log, result or setting names one."""


@pytest.mark.slow
def test_names_lie_in_tables_and_nowhere_else(course):
    places = holders(course.folder, PERSON)
    assert places
    assert "out/store.sqlite" not in places, "names are sealed there"
    assert {place for place in places if Path(place).suffix not in NAMED} == set()
    assert not {place for place in places if not place.startswith("out/")}


@pytest.mark.slow
def test_scratch_and_home_are_left_clean(course):
    assert list((course.folder / "scratch").iterdir()) == []
    home = {str(path.relative_to(course.folder)) for path in files_below(course.folder / "home")}
    wordless = ("home/leadline/states/", "home/.cache/matplotlib/fontlist")
    assert {path for path in home if not path.startswith(wordless)} == set()


@pytest.mark.slow
def test_all_that_is_written_is_its_owners_alone(course):
    for folder in ("out", "simulated", "home/leadline"):
        for path in (course.folder / folder).rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_watch_sees_who_asks(tmp_path):
    """Fetching does ask, by name: what the other tests rely on."""
    for name in ("home", "scratch"):
        (tmp_path / name).mkdir()
    step = watched(tmp_path, "reader", "fetch", "Qwen/Qwen3.5-0.8B")
    assert any("huggingface.co" in line for line in step.outward)
    assert step.code == 2
    assert "The model hub did not give Qwen/Qwen3.5-0.8B" in step.err


NATIVE = """
import socket, ctypes
address = (ctypes.c_ubyte * 16)(2, 0, 0, 53, 192, 0, 2, 1)
libc = ctypes.CDLL(None)
libc.connect(libc.socket(2, 2, 0), address, 16)
"""


def test_the_watch_sees_native_code_too(tmp_path, monkeypatch):
    if not tracer():
        pytest.skip("strace is not permitted here")
    monkeypatch.setattr("tests.support.watched.PROGRAM", ("-c", NATIVE))
    assert watched(tmp_path).outward == ("192.0.2.1 port 53",)
