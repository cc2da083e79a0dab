"""A PostgreSQL of Debian's packages for tests: started once a process, not as root, on a socket."""

import atexit
import getpass
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
NUMBERS = itertools.count()


def server(*, durable: bool = False) -> str:
    """The folder of the socket of a running server; skips the test where there is none.

    With `durable` each commit is on the disk, as in production; tests do not wait for that.
    """
    return _server(durable)


@lru_cache(maxsize=2)
def _server(durable: bool) -> str:
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    bin_folder = BINARIES[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    user = _user()
    if user != getpass.getuser():
        record = pwd.getpwnam(user)
        os.chown(folder, record.pw_uid, record.pw_gid)
    data = folder / "data"
    _run(user, [bin_folder / "initdb", "-D", data, "-U", "leadline", "-A", "trust", "-E", "UTF8"])
    settings = ["listen_addresses=", "max_connections=200", "shared_buffers=32MB"]
    settings += [] if durable else ["fsync=off"]
    options = ["-k", folder, *(word for pair in settings for word in ("-c", pair))]
    process = subprocess.Popen(
        _as(user, [bin_folder / "postgres", "-D", data, *options]),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    atexit.register(_end, process, user, bin_folder, data)
    for _ in range(200):
        ready = subprocess.run([bin_folder / "pg_isready", "-q", "-h", folder], check=False)
        if ready.returncode == 0:
            return str(folder)
        time.sleep(0.05)
    pytest.fail("PostgreSQL did not start")


def new_database(template: str = "template1", *, durable: bool = False) -> str:
    """The URL of a database of its own."""
    folder, name = server(durable=durable), f"test_{os.getpid()}_{next(NUMBERS)}"
    sql(f"CREATE DATABASE {name} TEMPLATE {template}", durable=durable)
    return f"postgresql://leadline@/{name}?host={folder}"


def sql(text: str, *, durable: bool = False) -> None:
    """Run a command as the server's owner."""
    place = ["-h", server(durable=durable), "-U", "leadline", "-d", "postgres"]
    command = [BINARIES[-1].parent / "psql", "-q", *place]
    subprocess.run([*command, "-c", text], check=True, capture_output=True)


def _user() -> str:
    """Who runs the server: it refuses root."""
    if os.getuid():
        return getpass.getuser()
    names = {record.pw_name for record in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as(user: str, command: list) -> list[str]:
    words = [str(word) for word in command]
    return words if user == getpass.getuser() else ["setpriv", "--reuid", user, "--regid",
        str(pwd.getpwnam(user).pw_gid), "--clear-groups", *words]  # fmt: skip


def _run(user: str, command: list) -> None:
    subprocess.run(_as(user, command), check=True, capture_output=True, cwd="/")


def _end(process: subprocess.Popen, user: str, bin_folder: Path, data: Path) -> None:
    subprocess.run(
        _as(user, [bin_folder / "pg_ctl", "-D", data, "-m", "immediate", "stop"]),
        check=False, capture_output=True, cwd="/",
    )  # fmt: skip
    process.wait(timeout=10)
