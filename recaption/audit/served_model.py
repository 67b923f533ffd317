"""One model behind servers: asked patiently, its answers kept."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import httpx

from recaption.audit.answers import Answer, KeptAnswers, key_of
from recaption.audit.config import JudgeConfig, ServedModelConfig
from recaption.audit.protocol import PROTOCOL_ID
from recaption.captioners.chat import AskAgainError, RefusedError, read_answer
from recaption.captioners.served_models import read_headers
from recaption.captioners.servers import Server, ServerRound
from recaption.engine.transient import pause_seconds
from runtime.errors import UserError

T = TypeVar("T")
Content: TypeAlias = list[dict[str, Any]]
"""Parts of a message: text, pictures."""


class AskingFailedError(Exception):
    """A question that got no answer: refused, or asked often enough."""


class ServedModel:
    """Ask one model; safe to use from several threads."""

    def __init__(self, config: ServedModelConfig, judge: JudgeConfig, kept: KeptAnswers):
        self.config = config
        self._judge, self._kept = judge, kept
        self._round, self._taking = ServerRound(config.servers), threading.Lock()
        limits = httpx.Limits(max_connections=judge.concurrency)
        headers = read_headers(config.api_key_file)
        self._client = httpx.Client(headers=headers, limits=limits, timeout=judge.timeout_seconds, trust_env=False)
        self.name = config.name or self._only_listed()

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def key(self, prompt: str, image_sha256: str | None) -> str:
        """Return under what the answer to a question is kept."""
        asked = {"protocol": PROTOCOL_ID, "model": self.name, "prompt": prompt, "image": image_sha256}
        return key_of({**asked, "thinking": self._judge.thinking, "max_tokens": self._judge.max_tokens})

    def kept(self, key: str) -> Answer | None:
        """Return the answer to a question that was asked before."""
        return self._kept.get(key)

    def read(
        self, key: str, content: Callable[[], Content], schema: Mapping[str, Any], reader: Callable[[str], T]
    ) -> T:
        """Return what a reader makes of the answer to a question, which is asked unless it was answered before.

        Only answers that can be read are kept. Raises AskingFailedError, and what the reader and `content` raise.
        """
        with self._kept.alone(key):
            known = self._kept.get(key)
            answer = self._ask(content(), schema) if known is None else known
            found = reader(answer.text)
            if known is None:
                self._kept.keep(key, answer)
        return found

    def _ask(self, content: Content, schema: Mapping[str, Any]) -> Answer:
        message = ""
        for attempt in range(1, self._judge.attempts + 1):
            with self._taking:
                server = self._round.next()
            try:
                answer = self._post(server.url, content, schema)
            except RefusedError as refused:
                raise AskingFailedError(refused.message) from None
            except AskAgainError as failed:
                message = f"{failed.message} (asked {attempt} times)"
                pause = self._note_failure(server, attempt, failed)
            else:
                with self._taking:
                    self._round.answered(server)
                return answer
            if attempt < self._judge.attempts:
                time.sleep(pause)
        raise AskingFailedError(message)

    def _note_failure(self, server: Server, attempt: int, failed: AskAgainError) -> float:
        """Let a server rest; return how long to wait: what it asks for counts where no other may be asked."""
        with self._taking:
            self._round.failed(server, failed.wait_seconds)
            alone = self._round.only_choice(server)
        return max(pause_seconds(attempt - 1), (failed.wait_seconds or 0.0) if alone else 0.0)

    def _post(self, url: str, content: Content, schema: Mapping[str, Any]) -> Answer:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._judge.max_tokens,
            "temperature": 0.0,
        }
        if self._judge.structured:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema)}}
        if self._judge.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": self._judge.thinking}
        try:
            response = self._client.post(f"{url}/chat/completions", json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise AskAgainError("unavailable", f"{type(error).__name__}: {error}".strip(": ")) from error
        caption = read_answer(response.status_code, response.headers, response.content)
        usage = response.json().get("usage") or {}
        return Answer(
            text=caption.text,
            input_tokens=int(usage.get("prompt_tokens") or 0),
            output_tokens=int(usage.get("completion_tokens") or 0),
        )

    def _only_listed(self) -> str:
        url = self._round.servers[0].url
        try:
            response = self._client.get(f"{url}/models")
            response.raise_for_status()
            models = [str(model["id"]) for model in response.json()["data"]]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise UserError("no judge answers", where=url, found=found, fix="Start a server, or give its URL") from None
        if len(models) != 1:
            raise UserError("servers know several models", where=url, found=", ".join(models), fix="Give its name")
        return models[0]
