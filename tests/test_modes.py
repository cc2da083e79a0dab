"""Whatever is written is its owner's alone, from the first byte on, under the usual umask too."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.support.canary import write_source

PREAMBLE = """
import json, os, stat, sys
os.umask(0o022)
watched, made, open_to_others = os.environ["WATCHED"], set(), {}

def look():
    for path in list(made):
        try:
            mode = stat.S_IMODE(os.lstat(path).st_mode)
        except OSError:
            continue  # not made yet, or gone again
        if mode & 0o077:
            open_to_others[path] = oct(mode)

def hook(event, arguments):
    if event not in ("open", "os.mkdir", "os.rename", "os.chmod", "sqlite3.connect"):
        return
    look()  # what was made before this: nothing was written into it yet, or hardly
    for path in arguments[:2]:
        path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if path.startswith(watched):
            made.add(path)
            made.add(os.path.dirname(path))

sys.addaudithook(hook)
"""

COMMANDS = (
    PREAMBLE
    + """
from leadline.cli.app import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["leadline", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (arguments, stop.code)
    look()
assert made
print("HOOKED", json.dumps(open_to_others))
"""
)

CALLS = (
    PREAMBLE
    + """
from pathlib import Path
from leadline import import_files
from leadline.sources.config import ImportConfig
source, out = map(Path, json.loads(sys.argv[1]))
import_files(source / "turns.csv", ImportConfig(phq9=source / "phq9.csv"), out)
look()
assert made
closed = {os.path.dirname(path) for path in made
          if os.path.isdir(os.path.dirname(path))
          and not stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) & 0o077}
print("HOOKED", json.dumps({path: mode for path, mode in open_to_others.items()
      if not any(path.startswith(folder + "/") for folder in closed)}))
"""
)

TRACED = "openat,open,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,umask,mknodat"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, simulated) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_source(simulated.turns, simulated.phq9, folder)
    return folder


def places(folder: Path) -> dict[str, str]:
    """The environment of a process whose home, scratch and output lie in a folder."""
    for name in ("home", "scratch", "out"):
        (folder / name).mkdir(mode=0o700)
    return {
        **os.environ,
        "HOME": str(folder / "home"),
        "LEADLINE_HOME": str(folder / "home" / "leadline"),
        "TMPDIR": str(folder / "scratch"),
        "WATCHED": str(folder) + "/",
        "XDG_CACHE_HOME": str(folder / "home" / "cache"),
        "MPLCONFIGDIR": str(folder / "home" / "plots"),
    }


def run(folder: Path, code: str, argument: object, prefix: tuple[str, ...] = ()) -> dict[str, str]:
    """Run code under umask 022 and give what it made that others may read."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code, json.dumps(argument)], env=places(folder),
        capture_output=True, text=True, check=False, umask=0o022,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("HOOKED "))
    return dict(json.loads(line.removeprefix("HOOKED ")))


def others_may_read(folder: Path) -> dict[str, str]:
    """Files and folders below a folder that are not their owner's alone."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")
             if not path.is_symlink()}  # fmt: skip
    return {str(path): oct(mode) for path, mode in modes.items()
            if mode != (0o700 if path.is_dir() else 0o600)}  # fmt: skip


def first_steps(source: Path, out: Path) -> list[list[str]]:
    cohort = str(out / "cohort")
    return [
        ["import", str(source / "turns.csv"), "--phq9", str(source / "phq9.csv"), "--out", cohort],
        ["inspect", cohort],
        ["lock", cohort],
        ["simulate", "--out", str(out / "simulated"), "--people", "60", "--gold", "40",
         "--locked", "5"],
        ["import", str(source / "turns.csv"), "--out", cohort, "--overwrite"],
    ]  # fmt: skip


def test_commands_close_what_they_make_from_the_first_byte(tmp_path: Path, source: Path) -> None:
    assert run(tmp_path, COMMANDS, first_steps(source, tmp_path / "out")) == {}
    assert others_may_read(tmp_path / "out") == {}
    assert others_may_read(tmp_path / "scratch") == {}


def test_a_program_that_imports_closes_it_too(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out" / "cohort"
    assert run(tmp_path, CALLS, [str(source), str(out)]) == {}
    assert others_may_read(tmp_path / "out") == {}


def course(source: Path, reader: Path, out: Path) -> list[list[str]]:
    """The verbs of a whole course, on an imported and on a simulated cohort."""
    fit = ["--reader", str(reader), "--folds", "4", "--inner-folds", "2", "--fit", "ridge"]
    imported, cohort, run_path, labels = (
        str(out / name) for name in ("cohort", "simulated", "run", "labels")
    )
    steps = [
        *first_steps(source, out),
        ["label", cohort, "--out", labels, "--teacher", "simulated", "--draws", "1"],
        ["audit", cohort, "--labels", labels],
        ["train", cohort, "--out", run_path, *fit],
        ["score", imported, "--run", run_path, "--out", str(out / "estimates.parquet")],
        ["evaluate", run_path, "--cohort", cohort],
        ["report", run_path],
        ["selftrain", cohort, "--out", str(out / "rounds"), "--labels", labels, *fit,
         "--rounds", "1"],
    ]  # fmt: skip
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        steps.append(["export", run_path, "--out", str(out / "onnx")])
    return steps


CALL = re.compile(r"\b(\w+)\((.*)\)\s+= (\d+)")


def opened_to_others(trace: Path, below: str) -> list[str]:
    """Calls of the system that made, or opened, something below a folder for others."""
    mask, late = 0o022, []
    for line in trace.read_text(errors="replace").splitlines():
        match = CALL.search(line)
        if match is None:
            continue
        name, arguments = match[1], match[2]
        modes = re.findall(r"\b0[0-7]{1,4}\b", arguments.rpartition('"')[2])
        if name == "umask":
            mask = int(modes[-1], 8) if modes else 0
        elif below in arguments and modes and (name != "openat" or "O_CREAT" in arguments):
            mode = int(modes[-1], 8) & (0o777 if "chmod" in name else ~mask)
            if mode & 0o077:
                late.append(line)
    return late


@pytest.mark.slow
def test_no_verb_makes_anything_for_others(
    tmp_path: Path, source: Path, sentence_reader: Path
) -> None:
    trace = tmp_path / "trace"
    prefix = ("strace", "-f", "-qq", "-y", "-o", str(trace), "-e", f"trace={TRACED}")
    is_traced = shutil.which("strace") and subprocess.run(
        ["strace", "-qq", "true"], capture_output=True, check=False).returncode == 0  # fmt: skip
    steps = course(source, sentence_reader, tmp_path / "out")
    assert run(tmp_path, COMMANDS, steps, prefix if is_traced else ()) == {}
    for name in ("out", "scratch", "home"):
        assert others_may_read(tmp_path / name) == {}
    if is_traced:
        assert opened_to_others(trace, str(tmp_path)) == []


def test_the_trace_tells_what_is_open(tmp_path: Path) -> None:
    lines = (
        '1 openat(AT_FDCWD, "/w/a", O_WRONLY|O_CREAT, 0666) = 3',
        "1 umask(077)                        = 022",
        '1 openat(AT_FDCWD, "/w/b", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3</w/b>',
        '1 openat(AT_FDCWD, "/w/b", O_RDONLY) = 3',
        '1 mkdir("/w/c", 0777) = 0',
        '1 chmod("/w/c", 0755) = 0',
        '1 mkdir("/elsewhere", 0777) = 0',
        '1 openat(AT_FDCWD, "/w/d", O_WRONLY|O_CREAT, 0666) = -1 ENOENT',
    )
    (tmp_path / "trace").write_text("\n".join(lines))
    assert opened_to_others(tmp_path / "trace", "/w/") == [lines[0], lines[5]]
