"""The card of an exported data set: where its captions come from, what it counts, and what its publisher has to say."""

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from recaption.exchange.export_config import ExportConfig


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card tells."""

    splits: Mapping[str, int]
    """Rows by split."""
    statuses: Mapping[str, int]
    """Rows of the input by what became of them in the export."""
    prompt: str | None
    """What the captioner was asked, None where the run does not say."""
    captioner_id: str | None
    columns: Mapping[str, str]
    """Type by column."""


def write_card(config: ExportConfig, facts: CardFacts) -> str:
    """Return the card, `README.md`: the header that the hub and `load_dataset` read, then the text."""
    splits = [{"split": split, "path": f"data/{split}-*.parquet"} for split in facts.splits]
    licence = {} if config.license is None else {"license": config.license}
    header = {
        **licence,
        "pretty_name": config.name,
        "task_categories": ["image-to-text", "text-to-image"],
        "configs": [{"config_name": "default", "data_files": splits}],
    }
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n{_text(config, facts)}"


def _text(config: ExportConfig, facts: CardFacts) -> str:
    said = f"> {facts.prompt}" if facts.prompt else "The captions were imported; the prompt is not known here."
    licence = config.license or "**Not stated yet.** Pictures and captions may come under several licences."
    return f"""
# {config.name}

Pictures with captions by a captioning model, made with OpenRecap. `caption` is the {_chosen(config)}.
`org_caption` came with the picture, `{config.caption_column}` is the model's.

## Rows

{_table(("split", "rows"), facts.splits)}

What became of the rows that went in (`success`: exported):

{_table(("status", "rows"), facts.statuses)}

## Captioner

Identity of the model and its settings: `{facts.captioner_id}`. It was asked:

{said}

Captions by a model can name what is not in the picture, and miss what is.

## Columns

{_table(("column", "type"), facts.columns)}

## Licence

{licence}
"""


def _chosen(config: ExportConfig) -> str:
    if config.captions == "mix":
        share = f"{config.original_share:.0%} of rows"
        return f"original caption in {share}, else the recaption (see `caption_source`; seed {config.seed})"
    return {"original": "original caption", "recaption": "recaption"}[config.captions]


def _table(titles: tuple[str, str], rows: Mapping[str, object]) -> str:
    lines = [f"| {titles[0]} | {titles[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines)
