"""A loopback server that speaks the documented Anthropic and OpenAI protocols, with faults.

What it answers is decided by words in the person's text (REFUSE, INVALID, TRUNCATE, ERRORED,
OVERLOADED, EXPIRED, CANCELED, MISSING, and PONDER for a thought that uses up all room), and how it
behaves by `faults`, which are used up one per request, and by `endings`, one per OpenAI batch.

It thinks where a request asks for it, and refuses what the providers refuse of such requests.
Where the thoughts of a chat completion stand is decided by the model's name: ``vllm`` and
``llama`` have fields for them, ``inline`` leaves them before the answer, ``bare`` does so without
a mark, others hide them.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES = [
    *("anhedonia", "low_mood", "sleep", "fatigue", "appetite"),
    *("worthlessness", "concentration", "psychomotor", "self_harm"),
]

THOUGHT = "Well, they slept badly, which speaks for item three"

THOUGHT_TOKENS = 700


def rating_for(text: str) -> dict[str, Any]:
    """A valid rating that depends on the text alone; quotes the person's first words."""
    person = [line[8:] for line in text.splitlines() if line.startswith("Person: ")]
    quote = " ".join(person[0].split()[:3]) if person else ""
    seed = hashlib.sha256(text.encode()).digest()
    answer: dict[str, Any] = {
        name: {"quote": quote, "score": seed[at] % 4, "confidence": "high"}
        for at, name in enumerate(NAMES)
    }
    answer["sleep"] = {"quote": "", "score": None, "confidence": "low"}
    answer["total"] = sum(value["score"] or 0 for value in answer.values())
    return answer


class TeacherServer:
    """Start with `with TeacherServer() as server:`; `server.url` is its base URL."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []  # raw body of every POST
        self.headers: list[dict[str, str]] = []
        self.asked: list[str] = []  # user content of every message that was answered
        self.faults: list[str] = []
        self.batches: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.polls_until_end = 1
        self.endings: list[str] = []  # final states of OpenAI batches; "completed" after them
        self.delay = 0.0
        self.lock = threading.Lock()
        self._stop = threading.Event()

    def __enter__(self) -> TeacherServer:
        handler = type("Bound", (_Handler,), {"world": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def take_fault(self) -> str | None:
        with self.lock:
            return self.faults.pop(0) if self.faults else None

    def wait(self) -> None:
        if self.delay:
            self._stop.wait(self.delay)


def _content(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def _text_of(user: str) -> tuple[str, str]:
    """(kind, text) of the answer to a user message."""
    if "REFUSE" in user:
        return "refusal", "I can't help with that."
    text = json.dumps(rating_for(user))
    if "INVALID" in user:
        return "stop", text[:-1] + ', "extra": 1}'
    if "TRUNCATE" in user:
        return "length", text[:100]
    return "stop", text


def refuses_thinking(body: dict[str, Any]) -> bool:
    """True for a Messages request whose thinking the API answers with HTTP 400."""
    thinking = body.get("thinking") or {"type": "disabled"}
    effort = body.get("output_config", {}).get("effort", "high")
    if effort not in ("low", "medium", "high", "xhigh", "max"):
        return True
    if thinking["type"] == "disabled":
        return set(thinking) != {"type"}
    budget = thinking.get("budget_tokens", 1024)
    right = {"adaptive": {"type"}, "enabled": {"type", "budget_tokens"}}[thinking["type"]]
    within = 1024 <= budget < body["max_tokens"]
    return "temperature" in body or not within or set(thinking) - {"display"} != right


def thinks(body: dict[str, Any]) -> bool:
    """True if a request of either protocol asks for thoughts."""
    if "thinking" in body:
        return bool(body["thinking"]["type"] != "disabled")
    switches = body.get("chat_template_kwargs", {})
    effort = body.get("reasoning_effort", "none")
    return bool(switches.get("enable_thinking", effort != "none"))


def anthropic_message(body: dict[str, Any]) -> dict[str, Any]:
    kind, text = _text_of(_content(body))
    stop = {"refusal": "refusal", "length": "max_tokens", "stop": "end_turn"}[kind]
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}]
    usage: dict[str, Any] = {"input_tokens": 100, "output_tokens": 50}
    if thinks(body):
        shows = body["thinking"].get("display") == "summarized"
        thought = {"thinking": THOUGHT if shows else "", "signature": "c2ln"}
        blocks.insert(0, {"type": "thinking", **thought})
        usage["output_tokens"] += THOUGHT_TOKENS
        usage["output_tokens_details"] = {"thinking_tokens": THOUGHT_TOKENS}
        if "PONDER" in _content(body):
            stop, blocks = "max_tokens", blocks[:1]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {**usage, "cache_read_input_tokens": 10},
    }


def openai_completion(body: dict[str, Any]) -> dict[str, Any]:
    kind, text = _text_of(_content(body))
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if kind == "refusal":
        message = {"role": "assistant", "content": None, "refusal": text}
    usage: dict[str, Any] = {"prompt_tokens": 110, "completion_tokens": 50, "total_tokens": 160}
    if thinks(body):
        kind = _think(body, message, kind)
        tokens = 50 + THOUGHT_TOKENS
        usage = {"prompt_tokens": 110, "completion_tokens": tokens, "total_tokens": 110 + tokens}
        usage["completion_tokens_details"] = {"reasoning_tokens": THOUGHT_TOKENS}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {"index": 0, "finish_reason": kind if kind == "length" else "stop", "message": message}
        ],
        "usage": usage,
    }


def _think(body: dict[str, Any], message: dict[str, Any], kind: str) -> str:
    """Put thoughts where the server of this name puts them; return how the answer ends."""
    cut = "PONDER" in _content(body)
    if cut:
        message["content"] = None
    if "vllm" in body["model"]:
        message["reasoning"] = THOUGHT
    elif "llama" in body["model"]:
        message["reasoning_content"] = THOUGHT
    elif "inline" in body["model"]:
        message["content"] = THOUGHT if cut else f"{THOUGHT}\n</think>\n\n{message['content']}"
    elif "bare" in body["model"]:
        message["content"] = f"{THOUGHT}. {message['content']}"
    return "length" if cut else kind


class _Handler(BaseHTTPRequestHandler):
    world: TeacherServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the test output clean."""

    def reply(self, value: Any, status: int = 200, **headers: str) -> None:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(raw)

    def drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def fault(self, kind: str) -> None:
        if kind == "drop":
            self.drop()
        elif kind == "half":
            raw = b'{"id": "msg'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(raw)
            self.wfile.flush()
            self.drop()
        elif kind == "html":
            raw = b"<html>Please log in to this network</html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)
        elif kind == "empty":
            self.reply({})
        elif kind == "redirect":
            self.reply({}, 307, Location="http://127.0.0.1:9/elsewhere")
        else:
            name = "overloaded_error" if kind == "529" else "rate_limit_error"
            error = {"type": "error", "error": {"type": name, "message": "later"}}
            self.reply(error, int(kind), retry_after="0.01")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.world.lock:
            self.world.bodies.append(raw)
            self.world.headers.append(dict(self.headers))
        path = self.path.split("?")[0]
        fault = self.world.take_fault()
        if fault and fault != "create-drop":
            self.fault(fault)
        elif path.endswith("/v1/messages/batches"):
            self.create_anthropic(json.loads(raw), drop=fault == "create-drop")
        elif path.endswith("/files"):
            self.upload(raw)
        elif path.endswith("/batches"):
            self.create_openai(json.loads(raw), drop=fault == "create-drop")
        else:
            self.world.wait()
            body = json.loads(raw)
            with self.world.lock:
                self.world.asked.append(_content(body))
            anthropic = path.endswith("/v1/messages")
            if anthropic and refuses_thinking(body):
                error = {"type": "invalid_request_error", "message": "thinking"}
                self.reply({"type": "error", "error": error}, 400)
            else:
                self.reply(anthropic_message(body) if anthropic else openai_completion(body))

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        fault = self.world.take_fault() if "batches" in path or "files" in path else None
        if fault and fault != "cut":
            self.fault(fault)
            return
        self.cut = fault == "cut"
        parts = path.strip("/").split("/")
        if path.endswith("/v1/messages/batches"):
            self.list_batches(query, _anthropic_view)
        elif path.endswith("/batches"):
            self.list_batches(query, _openai_view)
        elif parts[-1] == "results":
            self.results(self.anthropic_results(self.world.batches[parts[-2]]))
        elif parts[-1] == "content":
            self.results(self.world.files[parts[-2]])
        else:
            self.reply(self.poll(parts[-1], "messages" in parts))

    def results(self, raw: bytes) -> None:
        """A file of results; with the fault ``cut`` the connection breaks after half of it."""
        if not self.cut:
            self.reply(raw)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-jsonl")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw[: len(raw) // 2])
        self.wfile.flush()
        self.drop()

    # Anthropic

    def create_anthropic(self, body: dict[str, Any], *, drop: bool) -> None:
        batch = self.new_batch("msgbatch", body["requests"])
        self.drop() if drop else self.reply(_anthropic_view(batch))

    def anthropic_results(self, batch: dict[str, Any]) -> bytes:
        lines = []
        for entry in batch["requests"]:
            user = _content(entry["params"])
            result: dict[str, Any] = {"type": "succeeded"}
            if "ERRORED" in user or refuses_thinking(entry["params"]):
                error = {"type": "invalid_request_error", "message": "no"}
                result = {"type": "errored", "error": {"type": "error", "error": error}}
            elif "OVERLOADED" in user and batch["number"] == 1:
                error = {"type": "overloaded_error", "message": "later"}
                result = {"type": "errored", "error": {"type": "error", "error": error}}
            elif "MISSING" in user and batch["number"] == 1:
                continue
            elif "EXPIRED" in user and batch["number"] == 1:
                result = {"type": "expired"}
            elif "CANCELED" in user and batch["number"] == 1:
                result = {"type": "canceled"}
            else:
                result["message"] = anthropic_message(entry["params"])
            lines.append({"custom_id": entry["custom_id"], "result": result})
        random.Random(5).shuffle(lines)
        return "\n".join(json.dumps(line) for line in lines).encode()

    # OpenAI

    def upload(self, raw: bytes) -> None:
        marker = b"\r\n\r\n"
        parts = [part for part in raw.split(raw.split(b"\r\n", 1)[0]) if b"filename=" in part]
        content = parts[0].split(marker, 1)[1].rsplit(b"\r\n", 1)[0]
        name = f"file-{len(self.world.files)}"
        self.world.files[name] = content
        view = {"id": name, "object": "file", "bytes": len(content), "created_at": 1}
        self.reply({**view, "filename": "x.jsonl", "purpose": "batch", "status": "processed"})

    def create_openai(self, body: dict[str, Any], *, drop: bool) -> None:
        lines = self.world.files[body["input_file_id"]].splitlines()
        batch = self.new_batch("batch", [json.loads(line) for line in lines])
        batch["metadata"], batch["input_file_id"] = body.get("metadata"), body["input_file_id"]
        self.openai_results(batch)
        self.drop() if drop else self.reply(_openai_view(batch))

    def openai_results(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        for entry in batch["requests"]:
            user = _content(entry["body"])
            line: dict[str, Any] = {"id": "r", "custom_id": entry["custom_id"], "error": None}
            if "ERRORED" in user:
                bad.append({**line, "response": {"status_code": 400, "body": {}}})
            elif "OVERLOADED" in user and batch["number"] == 1:
                bad.append({**line, "response": {"status_code": 503, "body": {}}})
            elif "MISSING" in user and batch["number"] == 1:
                continue
            elif "EXPIRED" in user and batch["number"] == 1:
                bad.append({**line, "response": None, "error": {"code": "batch_expired"}})
            elif "CANCELED" in user and batch["number"] == 1:
                bad.append({**line, "response": None, "error": {"code": "batch_cancelled"}})
            else:
                reply = openai_completion(entry["body"])
                good.append({**line, "response": {"status_code": 200, "body": reply}})
        random.Random(5).shuffle(good)
        for field, lines in (("output_file_id", good), ("error_file_id", bad)):
            batch[field] = f"{batch['id']}-{field}" if lines else None
            raw = "\n".join(json.dumps(line) for line in lines).encode()
            self.world.files[f"{batch['id']}-{field}"] = raw

    # Both

    def new_batch(self, kind: str, requests: list[dict[str, Any]]) -> dict[str, Any]:
        with self.world.lock:
            number = len(self.world.batches) + 1
            batch = {
                "id": f"{kind}_{number}",
                "number": number,
                "requests": requests,
                "polls": 0,
                "created": datetime.now(UTC),
                "ends": self.world.polls_until_end,
                "ending": self.world.endings.pop(0) if self.world.endings else "completed",
                "base": self.world.url,
            }
            self.world.batches[str(batch["id"])] = batch
            bodies = [entry.get("params") or entry.get("body") for entry in requests]
            self.world.asked += [_content(body) for body in bodies if body]
        return batch

    def poll(self, name: str, anthropic: bool) -> dict[str, Any]:
        batch = self.world.batches[name]
        batch["polls"] += 1
        return _anthropic_view(batch) if anthropic else _openai_view(batch)

    def list_batches(self, query: str, view: Any) -> None:
        newest = sorted(self.world.batches.values(), key=lambda item: -item["number"])
        data = [] if "after" in query else [view(item) for item in newest]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        page = {"data": data, "has_more": False, "first_id": first, "last_id": last}
        self.reply({**page, "object": "list"})


def _anthropic_view(batch: dict[str, Any]) -> dict[str, Any]:
    ended = batch["polls"] >= batch["ends"]
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    counts["succeeded" if ended else "processing"] = len(batch["requests"])
    return {
        "id": batch["id"],
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts,
        "created_at": batch["created"].isoformat(),
        "expires_at": (batch["created"] + timedelta(days=1)).isoformat(),
        "results_url": f"{batch['base']}/v1/messages/batches/{batch['id']}/results",
    }


def _openai_view(batch: dict[str, Any]) -> dict[str, Any]:
    ended = batch["polls"] >= batch["ends"]
    view = {
        "id": batch["id"],
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "created_at": int(batch["created"].timestamp()),
        "input_file_id": batch.get("input_file_id", "x"),
        "status": batch["ending"] if ended else "in_progress",
        "metadata": batch.get("metadata"),
    }
    if ended and batch["ending"] == "failed":
        error = {"code": "invalid_request", "message": "no", "line": 1, "param": None}
        view["errors"] = {"object": "list", "data": [error]}
    elif ended:
        view |= {name: batch.get(name) for name in ("output_file_id", "error_file_id")}
    return view
