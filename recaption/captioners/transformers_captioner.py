"""Caption with a LLaVA directory in this process, on CPU or GPU, by the decoding engine of `llava_train`."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from PIL import Image

from llava_train.hub import local_folder
from recaption.captioners.base import Answered, Caption, Item, Request, Result
from recaption.captioners.identity import identify_model, identify_settings, package_versions
from recaption.captioners.positions import Place, batches_by_position
from recaption.config import RecaptionConfig
from recaption.named_prompts import Decoding
from recaption.prompts import decodings_for, prompts_without_condition
from recaption.quality.decodings import max_tokens_again, sampled_again
from runtime import seeds


class TransformersCaptioner:
    """Answer in batches fixed by the places of rows in their unit, or as rows come and slots get free."""

    def __init__(self, captioner: Any, config: RecaptionConfig, captioner_id: str):
        """Take over a `llava_train.model.LoadedCaptioner`: nothing else can run it afterwards."""
        from llava_train.model import settings_for

        self.captioner_id = captioner_id
        self._captioner = captioner
        self._batch_size, self._deterministic = config.batch_size, config.deterministic
        self._decodings = decodings_for(config)
        settings = settings_for(
            captioner.device,
            max_new_tokens=config.max_new_tokens,
            stop_ids=captioner.stop_ids,
            num_slots=config.batch_size * len(self._decodings),
            max_top_k=max(_top_k(decoding) for decoding in self._decodings),
        )
        self.engine = captioner.engine(settings, take_over=True)
        self._engine_again = self._open_engine_again(config) if _asks_otherwise(config) else self.engine
        self._dummy = self.prepare(Image.new("RGB", (1, 1), captioner.geometry.fill))
        self._prompt_ids: dict[str, tuple[int, ...]] = {}
        # What its template can't render is said before the first picture.
        for prompt in prompts_without_condition(config):
            self._ids(prompt)

    def _open_engine_again(self, config: RecaptionConfig) -> Any:
        """Return a small engine over the same weights for rows asked again: the usual one stays as small as it is, and
        so its answers what they are whether or not anything is asked again."""
        from llava_train.model import settings_for

        sampled = [sampled_again(config)] if "sampled" in config.repair.steps else []
        settings = settings_for(
            self._captioner.device,
            max_new_tokens=max_tokens_again(config),
            stop_ids=self._captioner.stop_ids,
            num_slots=PICTURES_AGAIN * len(self._decodings),
            max_top_k=max(_top_k(one) for one in (*self._decodings, *sampled)),
        )
        return self._captioner.engine(settings, beside=self.engine)

    @property
    def prepare(self) -> Callable[[Image.Image], Any]:
        """Return what makes the square of uint8 pixels that the vision tower sees, once normalised."""
        prepare: Callable[[Image.Image], Any] = self._captioner.geometry.prepare
        return prepare

    def take_seconds(self) -> Mapping[str, float]:
        """Return the seconds in "prefill" and "decode" since the last call, as far as they can be told apart."""
        seconds: Mapping[str, float] = self.engine.take_seconds()
        return seconds

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        """Yield a result for every request: batch by batch in their order, or as they are done."""
        from recaption.captioners.isolation import answer_batch

        if not self._deterministic:
            yield from self._answer_stream(items)
            return
        for batch in batches_by_position(items, self._batch_size):
            yield from answer_batch(batch, self._ask)

    def _answer_stream(self, items: Iterator[Item]) -> Iterator[Result]:
        """Answer rows in free slots. After an error, ask those that were under way in batches that isolate what is at
        fault, and go on.
        """
        from recaption.captioners.isolation import answer_batch

        source = _Source(items, self._asked_of)
        while True:
            ended = False
            try:
                for said in self.engine.run(source):
                    yield Answered(ticket=said.ticket, captions=self._captions(said))
                    source.under_way.pop(said.ticket)
                    yield from self._answer_aside(source)
                ended = True
            except Exception:
                if source.error is not None:
                    raise
            left = list(source.under_way.values())
            for start in range(0, len(left), self._batch_size):
                for result in answer_batch(left[start : start + self._batch_size], self._ask):
                    source.under_way.pop(result.ticket)
                    yield result
            yield from self._answer_aside(source)
            if ended:
                return

    def _answer_aside(self, source: "_Source") -> Iterator[Result]:
        """Answer rows that are asked otherwise than usual."""
        from recaption.captioners.isolation import answer_batch

        while source.aside:
            yield from answer_batch([source.aside.popleft()], self._ask)

    def _ask(self, batch: Sequence[Place]) -> list[tuple[Caption, ...]]:
        """Answer a batch, with a plain picture in each hole: a healthy row's batch is then as large as ever."""
        first = next(place for place in batch if isinstance(place, Request))
        asks = [
            self._asked_of(place if isinstance(place, Request) else self._stand_in(first), ticket)
            for ticket, place in enumerate(batch)
        ]
        engine, most = (self.engine, len(asks)) if first.is_usual else (self._engine_again, PICTURES_AGAIN)
        said = [one for start in range(0, len(asks), most) for one in engine.answer(asks[start : start + most])]
        return [self._captions(one) for one, place in zip(said, batch, strict=True) if isinstance(place, Request)]

    def _stand_in(self, first: Request) -> Request:
        return replace(first, ticket=0, picture=self._dummy, key="")

    def _asked_of(self, request: Request, ticket: int | None = None) -> Any:
        from llava_train.model import Ask, Question

        questions = tuple(
            Question(
                token_ids=self._ids(prompt),
                top_k=_top_k(decoding),
                temperature=decoding.temperature or 1.0,
                seed=seeds.derive(decoding.seed, "caption", request.key, prompt),
            )
            for prompt, decoding in zip(request.prompts, self._decodings_of(request), strict=True)
        )
        return Ask(ticket=request.ticket if ticket is None else ticket, pixels=request.picture, questions=questions)

    def _decodings_of(self, request: Request) -> Sequence[Decoding]:
        if request.decoding is not None:
            return [request.decoding] * len(request.prompts)
        return self._decodings[: len(request.prompts)]

    def _ids(self, prompt: str) -> tuple[int, ...]:
        """Return a prompt's tokens; those of prompts that many rows share are kept."""
        ids = self._prompt_ids.get(prompt)
        if ids is None:
            ids = tuple(self._captioner.prompt_ids(prompt))
            if len(self._prompt_ids) < _KEPT_PROMPTS_MAX:
                self._prompt_ids[prompt] = ids
        return ids

    def _captions(self, said: Any) -> tuple[Caption, ...]:
        return tuple(
            Caption(
                text=self._captioner.text(answer),
                finish_reason=answer.finish_reason,
                num_tokens=len(answer.token_ids),
                mean_logprob=answer.mean_logprob,
            )
            for answer in said.answers
        )


_KEPT_PROMPTS_MAX = 64
PICTURES_AGAIN = 16
"""Pictures asked again side by side, where they are asked otherwise than usual: few rows need it, and each has a place
in the cache for the longest answer."""


class _Source:
    """The requests of a stream as the engine's asks. Several threads may read it one after the other: the engine's
    reader of a run that failed may still be waiting for an item, which is then under way with nobody at work on it.
    """

    def __init__(self, items: Iterator[Item], asked_of: Callable[[Request], Any]):
        self._items, self._asked_of = items, asked_of
        self._lock = threading.Lock()
        self.under_way: dict[int, Request] = {}
        self.aside: deque[Request] = deque()
        """Requests that are none of the engine's, being asked otherwise."""
        self.error: BaseException | None = None
        """What the stream raised."""

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> Any:
        with self._lock:
            while True:
                try:
                    item = next(self._items)
                except StopIteration:
                    raise
                except BaseException as error:
                    self.error = error
                    raise
                if isinstance(item, Request) and not item.is_usual:
                    self.aside.append(item)
                elif isinstance(item, Request):
                    self.under_way[item.ticket] = item
                    return self._asked_of(item)


def open_transformers(config: RecaptionConfig) -> TransformersCaptioner:
    """Load the captioner that a config names."""
    import torch

    from llava_train.model import load_captioner

    precision = torch.bfloat16 if config.precision == "bf16" else torch.float32
    loaded = load_captioner(local_folder(config.model), device=config.device, precision=precision)
    return TransformersCaptioner(loaded, config, identify_captioner(config))


def identify_captioner(config: RecaptionConfig) -> str:
    """Return the id of the captioner that a config opens, without opening it."""
    settings = {
        "captioner": "transformers",
        "model": identify_model(local_folder(config.model)),
        "max_new_tokens": config.max_new_tokens,
        "batch_size": config.batch_size,
        "deterministic": config.deterministic,
        "decodings": [asdict(decoding) for decoding in decodings_for(config)],
        "precision": config.precision,
        "versions": package_versions("torch", "transformers"),
    }
    return identify_settings(settings)


def _asks_otherwise(config: RecaptionConfig) -> bool:
    return bool({"more_tokens", "sampled"}.intersection(config.repair.steps))


def _top_k(decoding: Decoding) -> int:
    return 1 if decoding.greedy else decoding.top_k
