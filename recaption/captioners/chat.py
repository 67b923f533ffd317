"""OpenAI's chat completions: what is sent about a picture, and what may come back."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from recaption.captioners.base import Caption, FailureKind
from recaption.named_prompts import Decoding
from runtime.errors import UserError

_AT_FAULT = (400, 413, 415, 422)
"""Statuses by which a server refuses one request; asked again, it would refuse it again."""
_NO_JOB = (401, 403, 404)
"""Statuses by which a server refuses the whole job: its key, or its model."""
_MESSAGE_CHARACTERS = 300


@dataclass(eq=False)
class AskAgainError(Exception):
    """An answer that did not come, or is none; it may come when asked again."""

    kind: FailureKind
    message: str
    wait_seconds: float | None = None
    """What the server asks to wait."""


@dataclass(eq=False)
class RefusedError(Exception):
    """A request that its server will never answer."""

    message: str


def chat_request(
    model: str, prompt: str, image: bytes, *, image_format: str, decoding: Decoding, max_new_tokens: int
) -> dict[str, Any]:
    """Return the body of a request: one message, the picture before the words, as captioners are trained."""
    url = f"data:image/{image_format};base64,{base64.b64encode(image).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": max_new_tokens,
        "logprobs": True,
        "temperature": 0.0,
    }
    if not decoding.greedy:
        # top_k is an extension that open servers share; left out, top_p may be what the model's folder says.
        body |= {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": 1.0, "seed": decoding.seed}
    return body


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Caption:
    """Return the caption in an answer.

    Raises AskAgainError or RefusedError for whatever else a server answers, and UserError where it refuses the job.
    """
    if status in _NO_JOB:
        wanted = "a server that takes this key and has this model"
        found = f"HTTP {status}: {_shown(body)}"
        raise UserError("the server refuses to answer", where="openai.servers", found=found, wanted=wanted)
    if status in _AT_FAULT:
        raise RefusedError(f"HTTP {status}: {_shown(body)}")
    if status != 200:
        wait_seconds = retry_after_seconds(headers.get("retry-after"))
        raise AskAgainError("unavailable", f"HTTP {status}: {_shown(body)}", wait_seconds)
    try:
        answer = json.loads(body)
        (choice,) = answer["choices"]
        text, finish_reason = choice["message"]["content"], choice["finish_reason"]
        if finish_reason in ("stop", "length"):
            num_tokens, mean_logprob = _counts(answer, choice, ended=finish_reason == "stop")
            # Not str(text): what is null or a list is no caption.
            return Caption(
                text=text.strip(), finish_reason=finish_reason, num_tokens=num_tokens, mean_logprob=mean_logprob
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"no chat completion ({type(error).__name__}): {_shown(body)}"
        raise AskAgainError("unavailable", message) from error
    raise RefusedError(f"the server ended the answer for another reason: {finish_reason}")


def retry_after_seconds(value: str | None) -> float | None:
    """Return the seconds in a Retry-After header, a number or a date; None where it says neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _counts(answer: Mapping[str, Any], choice: Mapping[str, Any], *, ended: bool) -> tuple[int | None, float | None]:
    """Return tokens, without the stop token that servers count, and the mean log-probability, where they are said."""
    logprobs: Sequence[Mapping[str, Any]] = (choice.get("logprobs") or {}).get("content") or []
    num_tokens = len(logprobs) or (answer.get("usage") or {}).get("completion_tokens")
    mean_logprob = sum(float(one["logprob"]) for one in logprobs) / len(logprobs) if logprobs else None
    if mean_logprob is not None and not math.isfinite(mean_logprob):
        mean_logprob = None
    return (None if num_tokens is None else max(0, int(num_tokens) - ended)), mean_logprob


def _shown(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:_MESSAGE_CHARACTERS]
