"""Caption with any vision-language model that transformers generates with, as its own processor asks it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, GenerationConfig, LogitsProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from llava_train.decoding.choosing import choose_among_likeliest
from llava_train.hub import local_folder
from recaption.captioners.base import Caption, Item, Request, Result
from recaption.captioners.identity import identify_model, identify_settings, package_versions
from recaption.captioners.isolation import answer_batch
from recaption.captioners.pictures import FitWithin, as_image
from recaption.captioners.positions import Place, batches_by_position
from recaption.captioners.rendering import PromptRenderer
from recaption.config import RecaptionConfig
from recaption.named_prompts import Decoding
from recaption.prompts import decodings_for, prompts_without_condition
from runtime import seeds
from runtime.device import pick_device
from runtime.pretrained import load_pretrained

_DUMMY_COLOUR = (122, 116, 104)


class VisionLanguageCaptioner:
    """Answer in batches fixed by the places of rows in their unit, by transformers' own `generate`."""

    def __init__(self, config: RecaptionConfig):
        folder = local_folder(config.model)
        self.captioner_id = identify_captioner(config)
        self._batch_size, self._max_new_tokens = config.batch_size, config.max_new_tokens
        self._fit = FitWithin(longer_side_px=config.max_side_px)
        self._decodings = decodings_for(config)
        self._renderer = PromptRenderer(folder)
        # What its template can't render is said before the first picture.
        for prompt in prompts_without_condition(config):
            self._renderer.token_ids(prompt)
        tokenizer = self._renderer.processor.tokenizer
        # Answers grow on the right, where prompts of a batch must all end.
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._device = pick_device(config.device)
        self._dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        types = sorted(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
        model = load_pretrained(AutoModelForImageTextToText, folder, model_types=types, dtype=self._dtype)
        self._model = cast(Any, model).eval().to(self._device)
        self._dummy = self._fit.prepare(Image.new("RGB", (64, 64), _DUMMY_COLOUR))

    @property
    def prepare(self) -> Callable[[Image.Image], Any]:
        """Return what shrinks a picture; how it is cut up is the processor's to say, which knows its whole batch."""
        return self._fit.prepare

    def answer(self, items: Iterator[Item]) -> Iterator[Result]:
        """Yield a result for every request, batch by batch, in the order in which they came."""
        for batch in batches_by_position(items, self._batch_size):
            yield from answer_batch(batch, self._ask)

    def _ask(self, batch: Sequence[Place]) -> list[tuple[Caption, ...]]:
        """Answer a batch, with a plain picture in each hole: a healthy row's batch is then as large as ever."""
        first = next(place for place in batch if isinstance(place, Request))
        stand_in = replace(first, ticket=0, picture=self._dummy, key="")
        requests = [place if isinstance(place, Request) else stand_in for place in batch]
        by_prompt = [self._captions(requests, place) for place in range(len(first.prompts))]
        by_request = zip(batch, zip(*by_prompt, strict=True), strict=True)
        return [captions for place, captions in by_request if isinstance(place, Request)]

    def _captions(self, requests: Sequence[Request], place: int) -> list[Caption]:
        decoding = requests[0].decoding or self._decodings[place]
        prompts = [request.prompts[place] for request in requests]
        keys = zip(requests, prompts, strict=True)
        drawn = [seeds.derive(decoding.seed, "caption", request.key, prompt) for request, prompt in keys]
        inputs = self._inputs(requests, prompts)
        chosen = ChosenTokens(decoding, torch.tensor(drawn, device=self._device))
        with torch.inference_mode():
            self._model.generate(**inputs, generation_config=self._settings(requests[0]), logits_processor=[chosen])
        return [self._caption(*row) for row in chosen.rows()]

    def _inputs(self, requests: Sequence[Request], prompts: Sequence[str]) -> dict[str, Any]:
        texts = [self._renderer.text(prompt) for prompt in prompts]
        inputs = self._renderer.processor(
            text=texts,
            images=[[as_image(request.picture)] for request in requests],
            add_special_tokens=self._renderer.wants_special_tokens(texts[0]),
            padding=True,
            return_tensors="pt",
        )
        return dict(inputs.to(self._device, self._dtype))

    def _settings(self, request: Request) -> GenerationConfig:
        """Return settings under which the likeliest token is taken: `ChosenTokens` leaves no other."""
        return GenerationConfig(
            max_new_tokens=request.max_new_tokens or self._max_new_tokens,
            do_sample=False,
            num_beams=1,
            eos_token_id=list(self._renderer.stop_ids),
            pad_token_id=self._renderer.processor.tokenizer.pad_token_id,
        )

    def _caption(self, ids: Sequence[int], logprobs: Sequence[float]) -> Caption:
        """Return the caption of a row's tokens, what follows its stop token left out."""
        stops = self._renderer.stop_ids
        length = next((place for place, token in enumerate(ids) if token in stops), len(ids))
        scored = logprobs[: length + 1]
        text = self._renderer.processor.tokenizer.decode(list(ids[:length]), skip_special_tokens=True)
        return Caption(
            text=str(text).strip(),
            finish_reason="stop" if length < len(ids) else "length",
            num_tokens=length,
            mean_logprob=sum(scored) / len(scored),
        )


class ChosenTokens(LogitsProcessor):
    """Choose each row's next token, likeliest or drawn, and leave `generate` no other; keep what was chosen.

    Draws depend on a row's seed, the place in its answer and the token alone, never on the rest of its batch.
    """

    def __init__(self, decoding: Decoding, row_seeds: Int64[Tensor, " rows"]):
        self._decoding, self._seeds = decoding, row_seeds
        self._tokens: list[Tensor] = []
        self._logprobs: list[Tensor] = []

    def __call__(
        self, input_ids: Int64[Tensor, "rows tokens"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Return scores that are finite at the chosen token alone."""
        top_k = 1 if self._decoding.greedy else min(self._decoding.top_k, scores.shape[-1])
        tokens, logprobs = choose_among_likeliest(
            scores,
            max_top_k=top_k,
            top_k=torch.full_like(self._seeds, top_k),
            temperature=torch.full(self._seeds.shape, self._decoding.temperature or 1.0, device=scores.device),
            seeds=self._seeds,
            places=torch.full_like(self._seeds, len(self._tokens)),
        )
        self._tokens.append(tokens)
        self._logprobs.append(logprobs)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens.unsqueeze(1), 0.0)

    def rows(self) -> list[tuple[list[int], list[float]]]:
        """Return each row's tokens and log-probabilities, up to where the last row ended."""
        tokens, logprobs = torch.stack(self._tokens, 1), torch.stack(self._logprobs, 1)
        return list(zip(tokens.tolist(), logprobs.tolist(), strict=True))


def identify_captioner(config: RecaptionConfig) -> str:
    """Return the id of the captioner that a config opens, without opening it."""
    settings = {
        "captioner": "transformers",
        "kind": "vision_language",
        "model": identify_model(local_folder(config.model)),
        "max_side_px": config.max_side_px,
        "max_new_tokens": config.max_new_tokens,
        "batch_size": config.batch_size,
        "precision": config.precision,
        "decodings": [vars(decoding) for decoding in decodings_for(config)],
        "versions": package_versions("torch", "transformers"),
    }
    return identify_settings(settings)
