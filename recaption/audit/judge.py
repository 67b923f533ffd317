"""A vision model as judge: claims are read out of captions, then asked about with their pictures."""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from imagetext.decode import DecodeError, decode
from recaption.audit.answers import KeptAnswers
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
from recaption.audit.served_model import AskingFailedError, Content, ServedModel
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
        return not claims or self.model.kept(self.model.key(judging_prompt(claims), self._image_id(image))) is not None

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
        return self.extractor.read(key, lambda: [{"type": "text", "text": prompt}], extraction_schema(), read_claims)

    def _judged(self, claims: list[StatedClaim], image: bytes) -> tuple[JudgedClaim, ...]:
        prompt = judging_prompt(claims)
        return self.model.read(
            self.model.key(prompt, self._image_id(image)),
            lambda: self._with_picture(prompt, image),
            judging_schema(len(claims)),
            lambda answer: read_verdicts(answer, claims),
        )

    def _with_picture(self, prompt: str, image: bytes) -> Content:
        url = f"data:image/jpeg;base64,{base64.b64encode(self._encode(decode(image))).decode()}"
        return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]

    def _image_id(self, image: bytes) -> str:
        return f"{hashlib.sha256(image).hexdigest()} within {self.config.max_side_px}"
