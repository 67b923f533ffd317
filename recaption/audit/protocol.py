"""What a judge is asked, and how its answers are read: the protocol of the audit of Recap-DataComp-1B.

Oh, Park, Bae, Yu, "A Matched-Budget Audit Framework for Recaptioned Image-Text Supervision Distributions" (NeurIPS
2026, openreview.net/forum?id=JobgYHJvPo): the first 64 words of a caption are read for claims of eight kinds, without
the picture; then each claim is asked about, all in one request, with the picture and without the caption; yes, no or
uncertain. Kinds, budget, forms of questions, answers and metrics are theirs; the wording around them is ours, so that
numbers compare with theirs as those of another judge would.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recaption.audit.captions import JudgedClaim, Verdict

PROTOCOL_ID = "claims-v1"
"""Counted up with every change of what is asked: answers are kept under it."""
KINDS = ("object", "attribute", "relation", "style", "camera", "lighting", "count", "text_rendering")
VERDICTS: Mapping[str, Verdict] = {"yes": "supported", "no": "unsupported", "uncertain": "uncertain"}

_EXTRACT = """\
Below is a caption of an image. List every visual claim it makes, each as one record with
- "category": the one that fits best of {kinds};
- "unit": the claim itself in a few words, one fact only;
- "target": the thing that it is about, or "scene" when it is about the whole image.
Take only what the caption states; add nothing of your own, and list nothing twice. A relation names both things. A
count names its number; "a" or "the" is no count. text_rendering is text that can be read in the image. Leave out
what is said to be absent, and words about the caption or the image as such.
Answer with JSON alone: {{"claims": [...]}}, an empty list when it claims nothing visible.

Caption: {caption}"""
_ASK = """\
Look at the image and answer every question about it, from what can be seen alone.
"yes": the image clearly bears it out. "no": the image contradicts it, or shows nothing of it. "uncertain": it is too
small, hidden, unreadable or ambiguous to tell.
Answer with JSON alone: {{"answers": [{{"id": ..., "answer": ...}}, ...]}}, one entry for each id.

Questions: {questions}"""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_ARTICLES = ("a", "an", "the")
_ABSENT_TEXT = ("no text", "no visible", "not visible", "without text")


@dataclass(frozen=True)
class StatedClaim:
    """One claim as a caption states it."""

    kind: str
    unit: str
    target: str

    @property
    def question(self) -> str:
        """Return the claim as a question."""
        if self.kind == "text_rendering":
            return f"Is the rendered text claim '{self.unit}' visibly supported by the image?"
        stated = f"{self.target}: {self.unit}" if self.target else self.unit
        return f"Is the visual claim '{stated}' supported by the image?"


class UnreadableAnswerError(Exception):
    """An answer that is not what was asked for."""


def window(text: str, words_max: int) -> str:
    """Return the beginning of a caption that is read."""
    return " ".join(text.split()[:words_max])


def extraction_prompt(caption: str) -> str:
    """Return what asks for the claims of a caption."""
    return _EXTRACT.format(kinds=", ".join(KINDS), caption=caption)


def judging_prompt(claims: Sequence[StatedClaim]) -> str:
    """Return what asks about claims, beside their picture."""
    questions = [{"id": str(place), "question": claim.question} for place, claim in enumerate(claims)]
    return _ASK.format(questions=json.dumps(questions, ensure_ascii=False))


def extraction_schema() -> dict[str, Any]:
    """Return the JSON schema of a list of claims."""
    text = {"type": "string", "maxLength": 80}
    return _list_of("claims", {"category": {"type": "string", "enum": list(KINDS)}, "unit": text, "target": text})


def judging_schema(num_claims: int) -> dict[str, Any]:
    """Return the JSON schema of answers to a number of questions."""
    ids = [str(place) for place in range(num_claims)]
    answer = {"type": "string", "enum": list(VERDICTS)}
    schema = _list_of("answers", {"id": {"type": "string", "enum": ids}, "answer": answer})
    schema["properties"]["answers"] |= {"minItems": num_claims, "maxItems": num_claims}
    return schema


def read_claims(answer: str) -> tuple[list[StatedClaim], int]:
    """Return the claims of an answer, each once, and how many were left out: repeats, bare articles, absent text.

    Raises UnreadableAnswerError.
    """
    claims: dict[tuple[str, str, str], StatedClaim] = {}
    records = _records(answer, "claims")
    for record in records:
        kind, unit, target = (str(record.get(name) or "").strip() for name in ("category", "unit", "target"))
        if kind not in KINDS or not unit:
            raise UnreadableAnswerError(f"no claim: {json.dumps(record)[:200]}")
        words = _normal(unit)
        absent = kind == "text_rendering" and any(sign in words for sign in _ABSENT_TEXT)
        if words and not absent:
            claims.setdefault((kind, words, _normal(target)), StatedClaim(kind, unit, target))
    return list(claims.values()), len(records) - len(claims)


def read_verdicts(answer: str, claims: Sequence[StatedClaim]) -> tuple[JudgedClaim, ...]:
    """Return claims with the verdicts of an answer; raises UnreadableAnswerError where one has none, or two."""
    found: dict[str, str] = {}
    for record in _records(answer, "answers"):
        name = str(record.get("id"))
        if name in found:
            raise UnreadableAnswerError(f"question {name} is answered twice")
        found[name] = str(record.get("answer")).strip().lower()
    if set(found) != {str(place) for place in range(len(claims))} or not set(found.values()) <= set(VERDICTS):
        raise UnreadableAnswerError(f"{len(found)} answers to {len(claims)} questions: {answer[:200]}")
    return tuple(
        JudgedClaim(kind=claim.kind, text=f"{claim.target}: {claim.unit}", verdict=VERDICTS[found[str(place)]])
        for place, claim in enumerate(claims)
    )


def _records(answer: str, name: str) -> list[Mapping[str, Any]]:
    begin, end = answer.find("{"), answer.rfind("}")
    try:
        # Models without a schema put fences or a sentence around what they were asked for.
        records = json.loads(answer[begin : end + 1])[name]
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise TypeError("no list of records")
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableAnswerError(f"{type(error).__name__}: {error}: {answer[:200]}") from None
    return records


def _normal(text: str) -> str:
    words = _WORD.findall(text.lower())
    while words and words[0] in _ARTICLES:
        words.pop(0)
    return " ".join(words)


def _list_of(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    item = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {name: {"type": "array", "items": item}},
        "required": [name],
        "additionalProperties": False,
    }
