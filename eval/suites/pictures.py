"""The `pictures` suite: any folder of drawn pictures, its distance to true ones and its fit to the prompts."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from eval.config import PicturesConfig
from eval.embeddings import Encoder
from eval.image_sets.extractors import Extractor
from eval.image_sets.floor import frechet_floor
from eval.image_sets.folder import PictureFolder, batches
from eval.image_sets.influence import frechet_interval
from eval.image_sets.kernel_distance import kernel_distance
from eval.image_sets.neighbours import NEIGHBOURS, within_reach
from eval.outcomes import Outcome, mean_of
from eval.suite import Measurement, measure
from runtime.errors import UserError
from runtime.intervals import Interval, mean_interval

SET = "pictures"


def measure_pictures(
    config: PicturesConfig,
    drawn: PictureFolder,
    true: PictureFolder | None,
    extractors: Sequence[Extractor],
    scorers: Mapping[str, Encoder],
) -> Iterator[Measurement]:
    """Yield distances by each extractor, then scores by each scorer.

    Raises UserError where a scorer has no prompts to go by, or an extractor gives numbers that are none.
    """
    for extractor in extractors if true is not None else ():
        assert true is not None
        yield from _distances(config, drawn, true, extractor)
    for name, scorer in scorers.items():
        outcome = _clip_score(config, drawn, scorer)
        protocol = f"{_drawn(drawn)}; 100 x max(cosine, 0) of picture and prompt (torchmetrics' scale)"
        yield measure(f"{SET}/clip_score[{name}]", outcome, protocol, config.bootstrap_replicates)


def _distances(
    config: PicturesConfig, drawn: PictureFolder, true: PictureFolder, extractor: Extractor
) -> Iterator[Measurement]:
    features, reference = (_features(config, each, extractor) for each in (drawn, true))
    protocol = f"{_drawn(drawn)}; to {len(true.files)} of {true.folder.name}; {extractor.description}"
    suffix, is_published = extractor.suffix, not extractor.suffix
    names = ("FID", "KID") if is_published else (f"FD{suffix}", f"KD{suffix}")

    def measured(name: str, interval: Interval) -> Measurement:
        return Measurement(metric=f"{SET}/{name}", protocol=protocol, count=len(features), interval=interval)

    yield measured(names[0], frechet_interval(features, reference))
    yield measured(f"{names[0]}_floor", mean_interval(frechet_floor(reference, len(features))))
    yield measured(names[1], kernel_distance(features, reference))
    if min(len(features), len(reference)) > NEIGHBOURS:
        sides = {"precision": (drawn, features, reference), "recall": (true, reference, features)}
        for name, (folder, items, cloud) in sides.items():
            outcome = mean_of(dict(zip(folder.keys, within_reach(items, cloud).astype(float).tolist(), strict=True)))
            yield measure(f"{SET}/{name}{suffix}", outcome, protocol, config.bootstrap_replicates)


def _features(config: PicturesConfig, folder: PictureFolder, extractor: Extractor) -> Float[np.ndarray, "items width"]:
    rows = np.concatenate([extractor.features(batch) for batch in batches(folder, config.batch_size)])
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise UserError("features that are no numbers", where=folder.files[bad[0]], found=f"{len(bad)} pictures")
    return rows


def _clip_score(config: PicturesConfig, drawn: PictureFolder, scorer: Encoder) -> Outcome:
    if drawn.prompts is None:
        fix = "Draw them with dit_train.sample, or write a manifest.jsonl as it does"
        raise UserError("no prompts to score by", where=drawn.folder, found="no manifest.jsonl", fix=fix)
    images = np.concatenate(
        [scorer.encode_images(batch, config.batch_size).double().numpy() for batch in batches(drawn, config.batch_size)]
    )
    texts = scorer.encode_texts(drawn.prompts, config.batch_size).double().numpy()
    scores = 100.0 * np.clip((images * texts).sum(axis=1), 0.0, None)
    return mean_of(dict(zip(drawn.keys, scores.tolist(), strict=True)))


def _drawn(drawn: PictureFolder) -> str:
    how = drawn.drawn_how or "of unknown making"
    return f"{len(drawn.files)} pictures, {how}"
