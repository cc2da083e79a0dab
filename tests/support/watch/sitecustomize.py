"""Loaded by a Python that is watched: notes every look-up and connection, and refuses others."""

import os
import sys

LOOPBACK = ("localhost", "127.", "::1", "0.0.0.0", "::")


def _host(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        return arguments[0]
    address = arguments[1]
    return address[0] if isinstance(address, tuple) else None


def _watch(event, arguments):
    if not event.startswith("socket."):
        return
    if event.removeprefix("socket.") not in (
        "connect", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr",
    ):  # fmt: skip
        return
    host = _host(event, arguments)
    host = host.decode() if isinstance(host, bytes) else host
    if not host or host.startswith(LOOPBACK):
        return
    with open(os.environ["WATCHED_LOG"], "a") as stream:  # noqa: PTH123 - pathlib is not needed
        stream.write(f"{event} {host}\n")
    raise OSError(101, "Network is unreachable")


if "WATCHED_LOG" in os.environ:
    sys.addaudithook(_watch)
