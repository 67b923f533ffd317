"""A judge behind OpenAI's protocol that knows what it is told: claims by caption, and which of them are so."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Stated = tuple[str, str, str]
"""Kind, unit and target of a claim."""


@dataclass
class JudgeScript:
    """What a judge says, and what it was asked."""

    claims: Mapping[str, Sequence[Stated]]
    """By caption."""
    verdicts: Mapping[str, str]
    """By a part of the question; the rest is supported."""
    caption: str = "A red boat on a meadow."
    """What is said of a picture when nothing is asked about claims."""
    failures: int = 0
    """Requests that are turned away before any is answered."""
    garbled: str | None = None
    """What is answered about captions that hold this text."""
    prompts: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def num_asked(self) -> int:
        return len(self.prompts)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: JudgeScript

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "judge"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][0]["content"]
        prompt = content[-1]["text"]
        with self.script.lock:
            self.script.failures -= 1
            if self.script.failures >= 0:
                self.reply(503, {"error": "warming up"})
                return
            self.script.prompts.append(prompt)
            self.script.bodies.append(body)
        text = self.answered(prompt, has_picture=len(content) == 2)
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self.reply(200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage})

    def answered(self, prompt: str, *, has_picture: bool) -> str:
        if not has_picture:
            return self.extracted(prompt)
        return self.judged(prompt) if "Questions: " in prompt else self.script.caption

    def extracted(self, prompt: str) -> str:
        caption = prompt.rpartition("Caption: ")[2]
        if self.script.garbled is not None and self.script.garbled in caption:
            return "I would rather not."
        stated = self.script.claims.get(caption, ())
        records = [{"category": kind, "unit": unit, "target": target} for kind, unit, target in stated]
        return f"```json\n{json.dumps({'claims': records})}\n```"

    def judged(self, prompt: str) -> str:
        questions = json.loads(prompt.rpartition("Questions: ")[2])
        return json.dumps({"answers": [{"id": q["id"], "answer": self.verdict(q["question"])} for q in questions]})

    def verdict(self, question: str) -> str:
        return next((said for part, said in self.script.verdicts.items() if part in question), "yes")

    def reply(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def judging(script: JudgeScript) -> Iterator[str]:
    """Run a judge in a thread; give its base URL."""
    handler = type("ScriptedHandler", (Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
