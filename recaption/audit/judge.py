"""A vision model as judge: claims are read out of captions, then asked about with their pictures."""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from imagetext.decode import DecodeError, decode
from recaption.audit.answers import Answer, KeptAnswers
from recaption.audit.captions import AuditedCaption, AuditItem, JudgedClaim
from recaption.audit.config import JudgeConfig
from recaption.audit.protocol import (
    StatedClaim,
    UnreadableAnswerError,
    extraction_prompt,
    extraction_schema,
    judging_prompt,
    judging_schema,
    read_claims,
    read_verdicts,
    window,
)
from recaption.audit.served_model import AskingFailedError, ServedModel
from recaption.captioners.pictures import Encode, FitWithin


class Judge:
    """Audit captions with a served model, or one that reads claims and one that judges them."""

    def __init__(self, config: JudgeConfig, kept: KeptAnswers):
        self.config = config
        self.model = ServedModel(config.model, config, kept)
        self.extractor = self.model if config.extractor is None else ServedModel(config.extractor, config, kept)
        self._encode = Encode(pixels=FitWithin(longer_side_px=config.max_side_px), image_format="jpeg").prepare

    @property
    def protocol(self) -> str:
        """Return what its numbers rest on, in words."""
        return (
            f"claims of the first {self.config.words_max} words read by {self.extractor.name}, "
            f"judged with the picture by {self.model.name}; protocol of Oh et al. (NeurIPS 2026), our wording"
        )

    def close(self) -> None:
        """End the connections."""
        self.model.close()
        self.extractor.close()

    def audit(self, items: Iterable[AuditItem]) -> Iterator[AuditedCaption]:
        """Yield what becomes of each caption, in order; a question that fails costs its caption alone."""
        left = iter(items)
        with ThreadPoolExecutor(self.config.concurrency) as pool:
            while some := list(islice(left, 4 * self.config.concurrency)):
                yield from pool.map(self._audit, some)

    def kept_claims(self, text: str) -> list[StatedClaim] | None:
        """Return the claims of a caption that were read before; None where they were not."""
        prompt = extraction_prompt(window(text, self.config.words_max))
        answer = self.extractor.kept(self.extractor.key(prompt, None))
        return None if answer is None else read_claims(answer.text)[0]

    def has_judged(self, claims: list[StatedClaim], image: bytes) -> bool:
        """Tell whether claims about a picture were judged before."""
        return not claims or self.model.is_kept(self.model.key(judging_prompt(claims), self._image_id(image)))

    def _audit(self, item: AuditItem) -> AuditedCaption:
        text = window(item.text, self.config.words_max)
        about = {"row": item.row, "source": item.source, "text": item.text, "num_words": len(text.split())}
        try:
            claims, num_left_out = self._claims(text)
            judged = self._judged(claims, item.image) if claims else ()
        except (AskingFailedError, UnreadableAnswerError, DecodeError) as error:
            return AuditedCaption(**about, error=f"{type(error).__name__}: {error}")  # type: ignore[arg-type]
        problems = (f"{num_left_out} claims left out",) if num_left_out else ()
        return AuditedCaption(**about, claims=judged, problems=problems)  # type: ignore[arg-type]

    def _claims(self, text: str) -> tuple[list[StatedClaim], int]:
        prompt = extraction_prompt(text)
        key = self.extractor.key(prompt, None)
        answer = self.extractor.kept(key)
        if answer is not None:
            return read_claims(answer.text)
        answer = self.extractor.ask(key, [{"type": "text", "text": prompt}], extraction_schema())
        found = read_claims(answer.text)
        self.extractor.keep(key, answer)
        return found

    def _judged(self, claims: list[StatedClaim], image: bytes) -> tuple[JudgedClaim, ...]:
        prompt = judging_prompt(claims)
        key = self.model.key(prompt, self._image_id(image))
        answer = self.model.kept(key)
        if answer is not None:
            return read_verdicts(answer.text, claims)
        answer = self._ask_with_picture(key, prompt, image, len(claims))
        found = read_verdicts(answer.text, claims)
        self.model.keep(key, answer)
        return found

    def _ask_with_picture(self, key: str, prompt: str, image: bytes, num_claims: int) -> Answer:
        url = f"data:image/jpeg;base64,{base64.b64encode(self._encode(decode(image))).decode()}"
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}]
        content.append({"type": "text", "text": prompt})
        return self.model.ask(key, content, judging_schema(num_claims))

    def _image_id(self, image: bytes) -> str:
        return f"{hashlib.sha256(image).hexdigest()} within {self.config.max_side_px}"
