"""The model card that a published directory carries, as the Hugging Face hub reads it."""

from collections.abc import Mapping
from typing import Any

from clip_train.config import ClipTrainConfig
from imagetext.mix import CaptionMixConfig
from runtime.tables import markdown_table

_FRONT_MATTER = """\
---
library_name: open_clip
pipeline_tag: zero-shot-image-classification
tags: [clip, open_clip]
---
"""


def model_card(
    config: ClipTrainConfig, num_trained: int, parameters: Mapping[str, int], audit: Mapping[str, Any]
) -> str:
    """Return the card of a model: what it is, what it was trained on, and how to load it.

    `num_trained` are the parameters that this run trained, `parameters` those of each part; `audit` is what the run's
    source counted. The card has nothing that two equal runs would not share.
    """
    return "\n".join(
        [
            _FRONT_MATTER,
            f"# {config.model}, {config.image_size_px} px, trained on mixed captions",
            "",
            markdown_table(["fact", "value"], _facts(config, num_trained, parameters, audit)),
            "",
            "Captions that it was trained with:",
            "",
            markdown_table(
                ["caption source", "samples", "share", "words", "tokens", "cut off"],
                [_source_row(name, counts) for name, counts in audit["sources"].items()],
            ),
            "",
            "```python",
            "import open_clip",
            "",
            'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")',
            'tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")',
            "```",
            "",
        ]
    )


def _facts(
    config: ClipTrainConfig, num_trained: int, parameters: Mapping[str, int], audit: Mapping[str, Any]
) -> list[list[str]]:
    loop = config.loop
    return [
        *([f"parameters, {part}", f"{number:,}"] for part, number in parameters.items()),
        ["parameters that trained", f"{num_trained:,}"],
        ["loss", config.loss],
        ["share of original captions asked for", _share_asked_for(config.mix)],
        *([["further captions of every image", ", ".join(config.mix.also)]] if config.mix.also else []),
        ["updates and batch", f"{loop.num_updates:,} of {loop.batch_size:,}"],
        ["peak learning rate, weight decay", f"{loop.learning_rate:g}, {loop.weight_decay:g}"],
        ["context", f"{config.context_length} tokens"],
        ["samples drawn, distinct", f"{audit['drawn']:,}, {audit['distinct']:,}"],
        ["fingerprint of keys and captions", str(audit["keys_fingerprint"])],
        ["seed", str(config.seed)],
    ]


def _share_asked_for(mix: CaptionMixConfig) -> str:
    """Say the share, and all that it depends on."""
    unit = mix.share_changes_unit.removesuffix("s")
    word = "on a line to" if mix.share_course == "linear" else "then"
    parts = [f"{mix.original_share:g}"]
    parts += [f"{word} {share:g} at {unit} {place:,}" for place, share in sorted(mix.share_changes.items())]
    parts += [f"{name}: {share:g}" for name, share in mix.dataset_shares.items()]
    if mix.score_share is not None:
        scored = mix.score_share
        parts.append(
            f"{scored.lowest_share:g} to {scored.highest_share:g} by scores of {scored.source}, even at "
            f"{scored.even_difference:g}, temperature {scored.temperature:g}"
        )
    return "; ".join(parts)


def _source_row(name: str, counts: Mapping[str, Any]) -> list[str]:
    return [
        name,
        f"{counts['count']:,}",
        f"{counts['share']:.4f}",
        f"{counts['mean_length_words']:.1f}",
        f"{counts['mean_length_tokens']:.1f}",
        f"{counts['truncated_share']:.2%}",
    ]
