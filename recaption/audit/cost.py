"""What an audit will take, told before the first question is asked."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from recaption.audit.captions import AuditItem
from recaption.audit.config import ServedModelConfig
from recaption.audit.judge import Judge
from recaption.audit.protocol import StatedClaim, extraction_prompt, judging_prompt, window

CLAIMS_PER_WORD = 10.44 / 50.85
"""Of the published recaptions, by the audit whose protocol this is."""
CHARACTERS_PER_TOKEN = 4
PIXELS_PER_TOKEN = 28 * 28
"""Of a picture, as Qwen-VL models cut it up; others take about as many."""
TOKENS_PER_EXTRACTED_CLAIM = 35
TOKENS_PER_VERDICT = 14
_GUESSED = StatedClaim("attribute", "large and painted in bright red", "wooden house")


@dataclass
class Tokens:
    """Requests to one model, and about how many tokens they take."""

    num_requests: int = 0
    read: int = 0
    written: int = 0

    def add(self, read: int, written: int) -> None:
        """Add one request."""
        self.num_requests += 1
        self.read += read
        self.written += written

    def dollars(self, prices: ServedModelConfig) -> float:
        """Return what they cost."""
        paid = self.read * prices.dollars_per_million_input_tokens
        return (paid + self.written * prices.dollars_per_million_output_tokens) / 1e6


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Questions that were not asked before, and about what they take."""

    num_captions: int
    num_requests: int
    num_kept: int
    """Requests whose answers are there already."""
    input_tokens: int
    output_tokens: int
    dollars: float

    def describe(self) -> str:
        """Return one line."""
        return (
            f"{self.num_captions} captions: {self.num_requests} requests to make, {self.num_kept} answered before; "
            f"about {self.input_tokens:,} tokens read and {self.output_tokens:,} written, {self.dollars:,.2f} dollars"
        )


def estimate_cost(judge: Judge, items: Iterable[AuditItem]) -> Cost:
    """Return what is left to ask about captions, and about what it takes."""
    extracting, judging, num_captions, num_kept = Tokens(), Tokens(), 0, 0
    for item in items:
        num_captions += 1
        claims = judge.kept_claims(item.text)
        if claims is None:
            caption = window(item.text, judge.config.words_max)
            claims = [_GUESSED] * max(1, round(CLAIMS_PER_WORD * len(caption.split())))
            extracting.add(_tokens(extraction_prompt(caption)), TOKENS_PER_EXTRACTED_CLAIM * len(claims))
        else:
            num_kept += 1
            if judge.has_judged(claims, item.image):
                num_kept += bool(claims)
                continue
        read = _tokens(judging_prompt(claims)) + _picture_tokens(item.image, judge.config.max_side_px)
        judging.add(read, TOKENS_PER_VERDICT * len(claims))
    return Cost(
        num_captions=num_captions,
        num_requests=extracting.num_requests + judging.num_requests,
        num_kept=num_kept,
        input_tokens=extracting.read + judging.read,
        output_tokens=extracting.written + judging.written,
        dollars=extracting.dollars(judge.extractor.config) + judging.dollars(judge.model.config),
    )


def _tokens(text: str) -> int:
    return len(text) // CHARACTERS_PER_TOKEN


def _picture_tokens(image: bytes, max_side_px: int) -> int:
    with Image.open(io.BytesIO(image)) as picture:
        width, height = picture.size
    scale = min(1.0, max_side_px / max(width, height))
    return max(1, round(width * height * scale**2 / PIXELS_PER_TOKEN))
