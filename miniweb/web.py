"""The web's shards: pictures with alt-text that passed the filter, and sidecars of other captions for them."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path

from imagetext.shards import ShardRow, write_shard
from imagetext.sidecars import write_sidecar
from miniweb import alttext, grammar
from miniweb.alttext import AltText
from miniweb.config import MiniwebConfig
from miniweb.pictures import draw_picture, shard_row
from miniweb.products import Made
from miniweb.scene import Scene
from miniweb.similarity import similarity
from miniweb.variants import WebScene, web_scenes
from runtime.seeds import numpy_generator

SIDECARS: Mapping[str, str] = {
    "web_oracle": "the truth in the captioner's words: what a perfect captioner would write",
    "web_clean": "clean, rich alt-text, to take the original's place",
    "web_paraphrase": "the alt-text reworded, nothing added",
}


@dataclass(frozen=True)
class Candidate:
    """A page of the web before the filter."""

    page: WebScene
    alt: AltText
    similarity: float


def build_web_shard(config: MiniwebConfig, folder: Path, index: int, num_rows: int) -> Made:
    """Write shard `index` of the web and its sidecars; return what was made."""
    candidates = list_candidates(config, index, num_rows)
    kept = filter_candidates(config, candidates, num_rows)
    rows: list[ShardRow] = []
    for row_index, candidate in enumerate(kept):
        picture = draw_picture(config, candidate.page.scene, "web", index, row_index)
        facts = {"alt_type": candidate.alt.type, "product_group": candidate.page.group}
        rows.append(shard_row(picture, index, row_index, candidate.alt.text, **facts))
    files = _shard_files(folder / "web", write_shard(folder / "web", index, rows).name)
    for name in SIDECARS:
        captions = [_other_caption(config, name, candidate, row.key) for candidate, row in zip(kept, rows, strict=True)]
        path = write_sidecar(folder / name, f"{index:05d}", _sidecar_rows(name, rows, captions))
        files += [path, path.with_name(f"{index:05d}_stats.json")]
    return Made(tuple(files), tuple(candidate.page.scene for candidate in kept), _facts(candidates, kept))


def list_candidates(config: MiniwebConfig, index: int, num_rows: int) -> list[Candidate]:
    """Return a shard's pages before the filter, as many as leave `num_rows` after it.

    A wrong alt-text tells of a page half a shard away: a neighbour may be a variant, and its text nearly true.
    """
    num = ceil(num_rows / config.web.filter_keep_share) if config.web.filtered else num_rows
    pages = list(islice(web_scenes(config, index), num))
    candidates = []
    for position, page in enumerate(pages):
        generator = numpy_generator(config.seed, "alt-text", index, position)
        other = pages[(position + 1 + num // 2) % num].scene
        alt = alttext.write(page.scene, generator, config.web.alt_text, other)
        score = similarity(alt.text, page.scene) + config.web.filter_noise * float(generator.normal())
        candidates.append(Candidate(page, alt, score))
    return candidates


def filter_candidates(config: MiniwebConfig, candidates: list[Candidate], num_rows: int) -> list[Candidate]:
    """Return the `num_rows` most similar candidates in their old order, or the first ones where there is no filter."""
    if not config.web.filtered:
        return candidates[:num_rows]
    best = sorted(range(len(candidates)), key=lambda position: -candidates[position].similarity)[:num_rows]
    return [candidates[position] for position in sorted(best)]


def _other_caption(config: MiniwebConfig, sidecar: str, candidate: Candidate, key: str) -> str:
    generator = numpy_generator(config.seed, sidecar, key)
    scene: Scene = candidate.page.scene
    if sidecar == "web_oracle":
        return grammar.describe(scene, generator)
    if sidecar == "web_clean":
        return alttext.write_clean(scene, generator).text
    return alttext.paraphrase(candidate.alt, generator)


def _sidecar_rows(name: str, rows: list[ShardRow], captions: list[str]) -> list[dict[str, object]]:
    return [
        {
            "key": row.key,
            "uid": row.metadata["uid"],
            "url": row.metadata["url"],
            "sha256": hashlib.sha256(row.image or b"").hexdigest(),
            "org_caption": row.caption,
            "re_caption": caption,
            "captioner_id": f"miniweb/{name}",
        }
        for row, caption in zip(rows, captions, strict=True)
    ]


def _facts(candidates: list[Candidate], kept: list[Candidate]) -> dict[str, object]:
    return {
        "candidates": len(candidates),
        "kept": len(kept),
        "alt_types_before_filter": dict(sorted(Counter(str(candidate.alt.type) for candidate in candidates).items())),
        "alt_types": dict(sorted(Counter(str(candidate.alt.type) for candidate in kept).items())),
        "in_product_groups": sum(candidate.page.group is not None for candidate in kept),
    }


def _shard_files(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.tar", folder / f"{name}.parquet", folder / f"{name}_stats.json"]
