"""What one answer to MMMU or MM-Vet is worth, from what lmms-eval logged of it."""

from collections.abc import Mapping
from typing import Any

from runtime.errors import UserError


def mmmu_point(scored: Mapping[str, Any]) -> float:
    """Return 1 for a right answer of MMMU, else 0, by the benchmark's own rule (Yue et al. 2023, arXiv 2311.16502).

    Choices must be the same letter. An open answer is right when one of its readings holds the wanted text, or is the
    wanted number rounded to two places.
    """
    wanted, read = scored["answer"], scored["parsed_pred"]
    readings = read if isinstance(read, list) else [read]
    if scored["question_type"] == "multiple-choice":
        return float(any(reading in _as_list(wanted) for reading in readings))
    forms = [form for text in _as_list(wanted) for form in _open_forms(str(text))]
    return float(any(_agrees(reading, forms) for reading in _flat(readings)))


def mmvet_point(scored: Mapping[str, Any]) -> float:
    """Return the judge's score of an answer of MM-Vet, in [0, 1] (Yu et al. 2023, arXiv 2308.02490).

    Raises UserError where the judge gave none: lmms-eval logs such an answer as a zero.
    """
    if not scored.get("eval_model"):
        raise UserError(
            "the judge scored nothing, which lmms-eval counts as 0",
            where=f"MM-Vet question {scored.get('question_id')}",
            found="no eval_model",
            fix="Give lmms-eval a working key of the judge's API (OPENAI_API_KEY), and run it again",
        )
    return float(scored["score"])


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _flat(readings: list[Any]) -> list[Any]:
    """Return the readings of all repeats: an open answer has a list of them for each."""
    return [part for reading in readings for part in _as_list(reading)]


def _open_forms(text: str) -> list[str | float]:
    """Return the forms in which an open answer may be found: a number, or a lower-case text.

    A single letter must have a space beside it.
    """
    try:
        return [round(float(text.strip().replace(",", "")), 2)]
    except ValueError:
        plain = text.strip().lower()
        return [f" {plain}", f"{plain} "] if len(plain) == 1 else [plain]


def _agrees(reading: Any, forms: list[str | float]) -> bool:
    if isinstance(reading, str):
        return any(isinstance(form, str) and form in reading for form in forms)
    return reading in forms
