"""The service as a process: where it listens, that it ends when told, and what its log holds."""

import datetime
import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.service.conftest import modelled
from tests.support.served import AGREED, message, token_of

from leadline.errors import LeadlineError
from leadline.service.serve import ServeConfig, listen


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_no_network_without_tls_or_a_proxy_that_does_it(host):
    with pytest.raises(LeadlineError, match="in clear"):
        ServeConfig(host=host)
    assert ServeConfig(host=host, behind_proxy=True).host == host
    assert ServeConfig(host=host, cert="c.pem", cert_key="k.pem").cert == "c.pem"


def test_a_certificate_without_its_key_is_refused():
    with pytest.raises(LeadlineError, match="go together"):
        ServeConfig(cert="c.pem")


def test_a_port_that_is_taken_is_one_message():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LeadlineError, match=f"port {port}") as refused:
            listen(ServeConfig(port=port))
    assert "--port" in str(refused.value)
    with listen(ServeConfig(port=0)) as listener:
        assert listener.getsockname()[1] > 0


def test_no_answer_waits_for_an_acknowledgement():
    with listen(ServeConfig(port=0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def started(folder, *flags):
    """A service in a process of its own, and its port."""
    log = folder / "serve.log"
    words = [sys.executable, "-m", "leadline", "monitor", "serve", "--store",
             str(folder / "store.sqlite"), "--key-file", str(folder / "key"), "--port", "0",
             *map(str, flags)]  # fmt: skip
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(words, stderr=stream)
    for _ in range(600):
        place = re.search(r"://127\.0\.0\.1:(\d+)\n", log.read_text(encoding="utf-8"))
        if place is not None:
            return process, int(place[1]), log
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    raise AssertionError("it did not start")


def certificate(folder):
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    cert, cert_key = folder / "cert.pem", folder / "cert.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    cert_key.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))  # fmt: skip
    return cert, cert_key


@pytest.mark.parametrize("tls", [False, True])
def test_it_answers_ends_when_told_and_logs_no_person(tmp_path, tls):
    store = modelled("sqlite", tmp_path)
    headers = {"Content-Type": "application/json", **token_of(store, "ingest", "care")}
    store.close()
    flags = ()
    if tls:
        cert, cert_key = certificate(tmp_path)
        flags = ("--cert", cert, "--cert-key", cert_key)
    process, port, log = started(tmp_path, *flags)
    try:
        if tls:
            context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
            context.check_hostname = False
            client = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        else:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

        def call(method, path, body=None):
            client.request(method, path, None if body is None else json.dumps(body), headers)
            answer = client.getresponse()
            return answer.status, json.loads(answer.read())

        assert call("GET", "/healthz") == (200, {"status": "ok", "reasons": []})
        assert call("PUT", "/v1/people/canaryperson", AGREED)[0] == 200
        sent = message("m1", "canarytext", person="canaryperson")
        assert call("POST", "/v1/messages", {"messages": [sent]})[1]["results"][0] == {
            "item": 0, "status": "stored", "reason": None, "number": 1,
        }  # fmt: skip
        assert call("GET", "/v1/people/canaryperson/course")[0] == 200
        assert call("GET", "/v1/people/canarynobody/course?asof=canary")[0] == 422
        client.close()
        maps = Path(f"/proc/{process.pid}/maps")
        if maps.exists():
            libraries = maps.read_text(encoding="utf-8")
            assert "libpython" in libraries or "python" in libraries
            assert "torch" not in libraries  # no model in this process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)
    text = log.read_text(encoding="utf-8")
    assert "canary" not in text
    assert "Traceback" not in text
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
