"""A server that speaks OpenAI's protocol and misbehaves as it is told: once per script, then it answers."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG_SECONDS = 30.0
"""Longer than any client here waits; a hanging answer ends early when the server stops."""


@dataclass
class Script:
    """What a server does, and what it saw."""

    models: Sequence[str] = ("tiny",)
    misdeeds: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By picture: what happens to the first request, the second, ...; afterwards requests are answered."""
    fallback: str = "answer"
    """What happens to pictures without misdeeds, or whose misdeeds are over."""
    seen: Counter[str] = field(default_factory=Counter)
    """Requests by picture."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)
    most_at_once: int = 0
    at_once: int = 0
    times: dict[str, list[float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)


def picture_of(body: Mapping[str, Any]) -> str:
    """Return what a test sends in place of a picture's bytes."""
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    return base64.b64decode(url.split(",", 1)[1]).decode("utf-8", "replace")


def completion(text: str, finish_reason: str = "stop") -> dict[str, Any]:
    tokens = [{"token": word, "logprob": -0.5} for word in [*text.split(), "<eos>"]]
    choice = {"message": {"content": text}, "finish_reason": finish_reason, "logprobs": {"content": tokens}}
    return {"choices": [choice], "usage": {"completion_tokens": len(tokens)}}


class ScriptedServer(ThreadingHTTPServer):
    daemon_threads = True
    script: Script


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "ScriptedServer"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.script.authorizations.add(self.headers.get("Authorization"))
        self.reply(200, json.dumps({"data": [{"id": name} for name in self.server.script.models]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        picture = picture_of(body)
        with self.server.script.lock:
            place = self.server.script.seen[picture]
            self.server.script.seen[picture] += 1
            self.server.script.bodies.append(body)
            self.server.script.times.setdefault(picture, []).append(time.monotonic())
            self.server.script.at_once += 1
            self.server.script.most_at_once = max(self.server.script.most_at_once, self.server.script.at_once)
        try:
            misdeeds = self.server.script.misdeeds.get(picture, ())
            self.act(misdeeds[place] if place < len(misdeeds) else self.server.script.fallback, picture, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.server.script.lock:
                self.server.script.at_once -= 1

    def act(self, deed: str, picture: str, body: Mapping[str, Any]) -> None:
        prompt = body["messages"][0]["content"][1]["text"]
        whole = json.dumps(completion(f"{prompt} {picture}")).encode()
        if deed == "answer":
            time.sleep(0.01)
            self.reply(200, whole)
        elif deed.startswith("429"):
            self.reply(429, b"too many requests", {"Retry-After": deed.split()[1]})
        elif deed.isdigit():
            self.reply(int(deed), f"status {deed} for {self.headers.get('Authorization')}".encode())
        elif deed == "hang":
            self.server.script.stopping.wait(HANG_SECONDS)
            self.close_connection = True
        elif deed == "cut":
            self.close_connection = True
        elif deed == "half":
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[: len(whole) // 2])
            self.close_connection = True
        else:
            bodies = {
                "malformed": b'{"choices": [',
                "empty choices": b'{"choices": []}',
                "not an object": b"[1, 2]",
                "no content": b'{"choices": [{"message": {}, "finish_reason": "stop"}]}',
                "null content": b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}',
                "parts": b'{"choices": [{"message": {"content": [{"text": "a"}]}, "finish_reason": "stop"}]}',
                "two choices": json.dumps({"choices": completion("one")["choices"] * 2}).encode(),
                "endless logprob": whole.replace(b"-0.5", b"-Infinity"),
                "length": json.dumps(completion(f"{prompt} {picture}", "length")).encode(),
                "filtered": json.dumps(completion("", "content_filter")).encode(),
                "bare": b'{"choices": [{"message": {"content": " a boat "}, "finish_reason": "stop"}]}',
            }
            self.reply(200, bodies[deed])

    def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """Run a server in a thread; give its base URL."""
    server = ScriptedServer(("127.0.0.1", 0), Handler)
    server.script = script
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        script.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
