"""The verb `coverage`: count, write the page, print it."""

import json
from dataclasses import asdict

from recaption.coverage.config import CoverageConfig
from recaption.coverage.counting import Coverage, count_coverage
from runtime.atomic import make_folder, write_json, write_text
from runtime.tables import markdown_table

_REASONS_SHOWN = 15


def coverage(config: CoverageConfig) -> None:
    """Say what an import came to."""
    found = count_coverage(config.recaptions)
    folder = make_folder(config.output_dir or config.recaptions / "job" / "coverage")
    page, record = as_markdown(str(config.recaptions), found), asdict(found)
    write_text(folder / "coverage.md", page)
    write_json(folder / "coverage.json", record)
    print(json.dumps(record, indent=2) if config.json else page)


def as_markdown(where: str, found: Coverage) -> str:
    """Return the page."""
    total, alive = found.num_rows, found.num_rows - sum(found.dead_links.values())
    survived = [
        ("own rows", total),
        ("with a picture", alive),
        ("with a recorded sha256", alive - found.num_without_digest),
        ("with a published row of this sha256", found.num_matched),
        ("... and of the same URL, too", found.num_same_url),
        *((f"with {name}", count) for name, count in found.captions.items()),
    ]
    doubles = [
        ("own rows whose sha256 several published rows have", found.num_matched_by_several),
        ("own rows whose sha256 an earlier own row has", found.num_repeated_digests),
        ("own rows whose sha256 no published row has", found.num_unmatched),
        ("own rows with a picture and without a sha256", found.num_without_digest),
    ]
    published = [
        ("published rows", found.num_published_read),
        ("... whose sha256 an own row has", found.num_published_matched),
    ]
    words = [(name, f"{mean:.2f}") for name, mean in found.mean_words.items()]
    return "\n".join(
        [
            f"# Published captions on {found.num_shards} own shards: {where}\n",
            "## What survived\n",
            _counted(survived, total),
            "## How the join went\n",
            _counted(doubles, total),
            _counted(published, found.num_published_read),
            "## Versions of the captions that a row has\n",
            "`re_caption` is the first version; others are later ones, such as the conditioned.\n",
            _counted(list(found.caption_sets.items()), total),
            markdown_table(("captions", "mean words"), words),
            "## Dead links and other rows without a picture\n",
            _counted(list(found.dead_links.items())[:_REASONS_SHOWN], total),
        ]
    )


def _counted(rows: list[tuple[str, int]], total: int) -> str:
    named: list[tuple[str, ...]] = [(name, f"{count:,}", f"{100 * count / max(1, total):.2f}") for name, count in rows]
    return markdown_table(("", "rows", "%"), named)
