"""Serve the application with uvicorn, whose own log would hold addresses with people in them."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from leadline.errors import LeadlineError
from leadline.monitor.hooks import Hook, HookConfig, call_until
from leadline.service.access import ServiceConfig
from leadline.service.app import framed, make_app
from leadline.settings import check_choices, setting
from leadline.store.store import Store

LOCAL = ("127.0.0.1", "::1", "localhost")
WAITING = 2048  # connections that the system holds until they are taken


@dataclass(frozen=True)
class ServeConfig:
    """Where the service listens, and how much it takes."""

    host: str = setting("127.0.0.1", "Address on which the service listens.")
    port: int = setting(8080, "Port (0: any that is free).", least=0, most=65535)
    cert: str | None = setting(None, "Certificate for TLS (PEM).")
    cert_key: str | None = setting(None, "Key of the certificate (PEM).")
    behind_proxy: bool = setting(
        False, "A proxy in front of this service does TLS: allow an address of the network without."
    )
    backlog: int = setting(
        200_000, "Messages that may wait to be read before no more are taken.", least=1
    )
    lag_seconds: float = setting(
        600.0, "Seconds that a message may wait before the service is not ready.", above=0
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if self.host not in LOCAL and self.cert is None and not self.behind_proxy:
            raise LeadlineError(
                "The service would send what people said over the network in clear.",
                remedy="Give --cert and --cert-key, or --behind-proxy where a proxy does TLS.",
            )
        if (self.cert is None) != (self.cert_key is None):
            raise LeadlineError(
                "--cert and --cert-key go together.", remedy="Give both, or neither."
            )

    @property
    def bounds(self) -> ServiceConfig:
        """Bounds of the application."""
        return ServiceConfig(self.backlog, self.lag_seconds)


def listen(config: ServeConfig) -> socket.socket:
    """The socket on which the service listens; the system chooses a port where it is 0.

    Raises:
        LeadlineError: the address is not of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listener = socket.create_server((config.host, config.port), family=family, backlog=WAITING)
    except OSError as error:
        raise LeadlineError(
            f"The service cannot listen on port {config.port}: {error.strerror}.",
            remedy="Give an address of this machine (--host) and a port that is free (--port).",
        ) from None
    # asyncio asks for it only of sockets whose protocol is said. Without it the body of an answer
    # waits until the client has acknowledged the head, which takes 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _check_certificate(config: ServeConfig) -> None:
    """Raise `LeadlineError` unless certificate and key can be used, before anything is opened."""
    if config.cert is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            config.cert, config.cert_key
        )
    except (OSError, ValueError) as error:
        raise LeadlineError(
            f"The certificate or its key cannot be used ({type(error).__name__}).",
            file=config.cert,
            remedy="Give both as PEM (--cert, --cert-key), of each other and readable by you.",
        ) from None


def serve(
    store: Store,
    config: ServeConfig,
    hooks: HookConfig,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until the process is told to end; calls of the hook are made meanwhile.

    `started` is told the address as soon as a client can connect.
    """
    _check_certificate(config)
    listener = listen(config)
    if started is not None:
        host = f"[{config.host}]" if ":" in config.host else config.host
        scheme = "https" if config.cert else "http"
        started(f"{scheme}://{host}:{listener.getsockname()[1]}")
    stop = threading.Event()
    hook = Hook.of(hooks)
    caller = None
    if hook is not None:
        caller = threading.Thread(target=call_until, args=(store, hook, stop), daemon=True)
        caller.start()
    logging.getLogger("leadline").setLevel(logging.INFO)
    server = uvicorn.Server(
        uvicorn.Config(
            framed(make_app(store, config.bounds)),
            ssl_certfile=config.cert,
            ssl_keyfile=config.cert_key,
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
        )
    )
    try:
        server.run(sockets=[listener])
    finally:
        stop.set()
        if caller is not None:
            caller.join()
        listener.close()
