import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.cohorts import cohort_of
from threadpoolctl import threadpool_limits

from leadline.errors import LeadlineError
from leadline.scoring import parts as parts_module
from leadline.scoring.config import ScoreConfig
from leadline.scoring.score import score_cohort

LOCAL = ScoreConfig(part_people=7, batch_people=3, cache=False)
RAY = replace(LOCAL, engine="ray", workers=1)
SINGLE = {"part_people": 1, "batch_people": 1}


# Ray's own modules set settings that Ray has deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray"
)


@pytest.fixture(scope="module")
def ray():
    """One Ray for the tests of this file; the engine leaves one that was running alone."""
    ray = pytest.importorskip("ray")
    from leadline.cluster import import_ray, start_ray

    import_ray(RAY.ray_address)
    start_ray(ray, RAY.ray_address)
    yield ray
    ray.shutdown()


def score_on_one_core(*arguments, **more):
    """The local engine with the threads of a worker: the last bit depends on their number."""
    with threadpool_limits(1, user_api="blas"):
        return score_cohort(*arguments, **more)


@pytest.fixture(scope="module")
def local(simulated_path, trained, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("local") / "out.parquet"
    counts = score_on_one_core(simulated_path, trained, out, LOCAL, home=home)
    return counts, out


def parts_of(out):
    return sorted(out.with_name(f".{out.name}.parts").glob("*.parquet"))


def until(true, seconds=120):
    """Wait until `true()` gives something, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.01)
    raise AssertionError("waited too long")


def workers(session=None):
    """Process ids of the part makers of this user's Ray sessions that descend from `session`."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if "PartMaker" in (folder / "cmdline").read_text() and session in ancestors(
                folder.name
            ):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ancestors(pid):
    out = []
    while int(pid) > 1:
        pid = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
        out.append(int(pid))
    return out


def test_ray_gives_the_bytes_of_the_local_engine(
    ray, local, simulated_path, trained, home, tmp_path
):
    out = tmp_path / "out.parquet"
    counts = score_cohort(simulated_path, trained, out, RAY, home=home)
    assert counts == local[0]
    assert out.read_bytes() == local[1].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(ray, simulated_path, trained, home, tmp_path):
    expected, out = tmp_path / "local.parquet", tmp_path / "out.parquet"
    score_on_one_core(simulated_path, trained, expected, replace(LOCAL, **SINGLE), home=home)
    config, problems = replace(RAY, **SINGLE), []

    def score():
        try:
            score_cohort(simulated_path, trained, out, config, home=home)
        except BaseException as error:
            problems.append(error)
            raise

    thread = threading.Thread(target=score)
    thread.start()
    killed = set()
    for count in (4, 12):
        until(lambda count=count: len(parts_of(out)) >= count)
        (pid,) = until(lambda: [pid for pid in workers(os.getpid()) if pid not in killed])
        assert len(parts_of(out)) < 60
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    thread.join(180)
    assert not problems
    assert len(killed) == 2
    assert out.read_bytes() == expected.read_bytes()


SCORE = ["-c", "from leadline.cli.app import main; main()", "score"]


def start(cohort, run, out, home, *flags, token=None):
    """`leadline score` in a process of its own, with parts of one person."""
    flags = [*flags, "--no-cache", "--part-people", "1", "--batch-people", "1"]
    command = [sys.executable, *SCORE, str(cohort), "--run", str(run), "--out", str(out), *flags]
    env = {**os.environ, "LEADLINE_HOME": str(home)}
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS"):
        env.pop(name, None)
    env |= {"RAY_AUTH_TOKEN": token} if token else {}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_parts_that_the_next_run_keeps(
    local, simulated_path, trained, home, tmp_path, monkeypatch
):
    expected, out = tmp_path / "local.parquet", tmp_path / "out.parquet"
    config = replace(LOCAL, **SINGLE)
    score_on_one_core(simulated_path, trained, expected, config, home=home)
    driver = start(simulated_path, trained, out, home, "--engine", "ray", "--workers", "1")
    until(lambda: len(parts_of(out)) >= 5)
    mine = workers(driver.pid)
    driver.kill()
    driver.communicate()
    assert mine
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in mine))
    kept = {path.name for path in parts_of(out)}
    assert 5 <= len(kept) < 60
    written = []
    write = parts_module.PartFolder.write

    def recorded(self, number, table, counts):
        written.append(self.file(number).name)
        write(self, number, table, counts)

    monkeypatch.setattr(parts_module.PartFolder, "write", recorded)
    score_on_one_core(simulated_path, trained, out, config, home=home)
    assert not kept & set(written)
    assert len(kept) + len(written) == 60
    assert out.read_bytes() == expected.read_bytes()


@pytest.mark.slow
def test_from_the_command_line_ray_says_little_and_nothing_of_what_was_said(
    simulated, simulated_path, trained, home, tmp_path
):
    out = tmp_path / "out.parquet"
    driver = start(simulated_path, trained, out, home, "--engine", "ray", "--json")
    printed, said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said.decode()
    assert b'"people": 60' in printed
    assert len(said.splitlines()) <= 2, said.decode()
    session = Path("/tmp/ray/session_latest").resolve()
    logs = [path for path in session.rglob("*") if path.is_file()]
    assert logs
    texts = {text.encode() for text in simulated.turns["text"] if len(text) > 20}
    for path in logs:
        content = path.read_bytes()
        assert not any(text in content for text in texts), path.name


@pytest.fixture
def cluster():
    """A Ray that was started by itself and asks for a token."""
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    token = secrets.token_hex(32)
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    ray = Path(sys.executable).with_name("ray")
    process = subprocess.Popen(
        [ray, "start", *flags], env=env, start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert any("will now block" in line for line in process.stdout)
    yield f"127.0.0.1:{port}", token
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_cluster_is_used_by_who_has_its_token(cluster, simulated_path, trained, home, tmp_path):
    address, token = cluster
    out, expected = tmp_path / "out.parquet", tmp_path / "expected.parquet"
    flags = ("--engine", "ray", "--ray-address", address, "--workers", "1")
    stranger = start(simulated_path, trained, out, home, *flags, token="0" * 64)
    _, said = stranger.communicate(timeout=200)
    assert stranger.returncode == 2
    assert b"cluster cannot be reached" in said
    assert not out.exists()
    driver = start(simulated_path, trained, out, home, *flags, token=token)
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said.decode()
    score_on_one_core(simulated_path, trained, expected, replace(LOCAL, **SINGLE), home=home)
    assert out.read_bytes() == expected.read_bytes()


@pytest.mark.slow
def test_a_part_that_kills_every_worker_is_one_clear_error(
    ray, simulated_path, trained, home, tmp_path, monkeypatch
):
    from leadline.scoring import ray as module

    class Deadly(module.PartMaker):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.scorer.make = lambda _: os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(module, "PartMaker", Deadly)
    with pytest.raises(LeadlineError, match="worker died 4 times"):
        score_cohort(simulated_path, trained, tmp_path / "out.parquet", RAY, home=home)
    assert list(tmp_path.iterdir()) == []


def test_a_problem_in_a_worker_reads_as_in_this_process(
    ray, simulated_path, trained, home, tmp_path
):
    from leadline.scoring.ray import make_parts
    from leadline.scoring.worker import Work

    with parts_module.open_parts(tmp_path / "out", {}, {}, 1) as parts:
        work = Work(simulated_path, tmp_path / "no-run", parts, 1, cache=False, home=home)
        with pytest.raises(LeadlineError, match="no run directory here") as found:
            list(make_parts(work, [one_row()], RAY))
    assert found.value.file == tmp_path / "no-run"


def one_row():
    from leadline.scoring.blocks import PeopleBlock

    return PeopleBlock(0, 0, 1)


def test_a_cohort_in_memory_is_not_sent_to_workers(trained, home, tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(LeadlineError, match="from the disk"):
        score_cohort(cohort_of([], []), trained, tmp_path / "out.parquet", RAY, home=home)


def test_without_ray_the_error_names_the_extra(trained, simulated_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LeadlineError, match=r"leadline\[cluster\]"):
        score_cohort(simulated_path, trained, tmp_path / "out.parquet", RAY)
    assert list(tmp_path.iterdir()) == []


def test_the_engine_is_imported_only_when_asked():
    code = "import sys, leadline.scoring.score; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
