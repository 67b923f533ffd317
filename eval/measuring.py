"""From a suite's name and config to its finished folder: load what is measured, then measure."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from eval.config import EvalConfig, LmmsConfig, PicturesConfig
from eval.runs import finished_run, published_subject, subject_of
from eval.suite import Measurement, Subject, data_fingerprint, run_suite, weights_sha256
from runtime.device import pick_device
from runtime.errors import UserError

if TYPE_CHECKING:
    from eval.suites.images import Instruments


def measure_captions(config: EvalConfig) -> None:
    """Measure a captioner's captions: statistics and claims."""
    from eval.suites.captions import measure_captions as measure

    run = finished_run(config.run)
    subject = subject_of(run, config.miniweb)
    settings = (config.captions, config.bootstrap_replicates, _sidecar_hashes(config))
    run_suite(config.output_dir / "captions", subject, settings, lambda: measure(config))


def measure_modes(config: EvalConfig) -> None:
    """Measure what a captioner says that knows the alt-text."""
    from eval.suites.modes import measure_modes as measure

    run = finished_run(config.run)
    subject = subject_of(run, config.miniweb)
    settings = (config.captions, config.bootstrap_replicates, _sidecar_hashes(config))
    run_suite(config.output_dir / "modes", subject, settings, lambda: measure(config))


def measure_captioner(config: EvalConfig) -> None:
    """Put questions to a captioner."""
    from eval.suites.captioner import measure_captioner as measure
    from llava_train.model import load_captioner

    run = finished_run(config.run)
    subject = subject_of(run, config.miniweb)
    settings = (config.captioner, config.bootstrap_replicates)

    def measurements() -> list[Measurement]:
        _use_threads(config)
        return list(measure(config, load_captioner(run / "export", device=config.device)))

    run_suite(config.output_dir / "captioner", subject, settings, measurements)


def take_over_lmms(config: LmmsConfig) -> None:
    """Turn what lmms-eval measured of a captioner into rows of its own suite, `lmms`."""
    from eval.lmms import measurements, read_lmms, require_loaded

    run = finished_run(config.run)
    results = read_lmms(config.results)
    require_loaded(results, run / "export", config.loaded_as)
    subject = published_subject(run, results.data_fingerprint())
    settings = (results.sha256(), config.bootstrap_replicates)
    run_suite(config.output_dir / "lmms", subject, settings, lambda: measurements(results, config.bootstrap_replicates))


def measure_clip(config: EvalConfig) -> None:
    """Measure a contrastive model on all benchmarks."""
    from clip_train.model import load_encoder
    from eval.clip_models import ClipModel
    from eval.embeddings import Embeddings
    from eval.suites.clip import measure_clip as measure

    run = finished_run(config.run)
    subject = subject_of(run, config.miniweb)
    settings = (config.clip, config.bootstrap_replicates)

    def measurements() -> list[Measurement]:
        _use_threads(config)
        encoder = load_encoder(run / "export", pick_device(config.device))
        facts = ClipModel(spec=subject.run, encoder=encoder, precision="float32").facts
        found = measure(config, Embeddings(encoder, config.batch_size))
        return [replace(each, manifest={**each.manifest, **facts}) for each in found]

    run_suite(config.output_dir / "clip", subject, settings, measurements)


def measure_images(config: EvalConfig) -> None:
    """Draw and judge a text-to-image model's pictures."""
    from dit_train.sampler import load_sampler
    from eval.suites.images import Studio
    from eval.suites.images import measure_images as measure

    run = finished_run(config.run)
    subject = subject_of(run, config.miniweb)
    instruments = _load_instruments(config)
    hashes = (instruments.judge_sha8, instruments.scorer_sha8, _sidecar_hashes(config))
    settings = (config.images, config.bootstrap_replicates, hashes)

    def measurements() -> list[Measurement]:
        _use_threads(config)
        sampler = load_sampler(run / "export", device=config.device)
        return list(measure(config, Studio(sampler, config), instruments))

    run_suite(config.output_dir / "images", subject, settings, measurements)


def measure_pictures(config: PicturesConfig) -> None:
    """Measure any folder of pictures."""
    from clip_train.model import load_encoder
    from eval.image_sets.extractors import ClipTower, Extractor, load_inception
    from eval.image_sets.folder import read_folder
    from eval.suites.pictures import measure_pictures as measure

    drawn = read_folder(config.pictures, config.num_pictures)
    true = None if config.reference is None else read_folder(config.reference)
    device = pick_device(config.device)
    torch.set_num_threads(config.threads)
    towers: list[Extractor] = [ClipTower(load_encoder(path, device), name) for name, path in config.extractors.items()]
    inception: list[Extractor] = [] if config.inception is None else [load_inception(config.inception, device)]
    scorers = {name: load_encoder(path, device) for name, path in config.scorers.items()}
    subject = Subject(
        run=config.run or f"pictures/{drawn.folder.resolve().name}",
        seed=drawn.seed,
        checkpoint_sha256=drawn.checkpoint_sha256,
        data_fingerprint="" if true is None else true.fingerprint()[:16],
    )
    digests = {name: scorer.checkpoint_sha256 for name, scorer in scorers.items()}
    settings = (drawn.fingerprint(), [each.description for each in (*inception, *towers)], digests, config.batch_size)
    run_suite(
        config.output_dir / "pictures",
        subject,
        (*settings, config.bootstrap_replicates),
        lambda: measure(config, drawn, true, [*inception, *towers], scorers),
    )


def measure_judges(config: EvalConfig) -> None:
    """Train the judges and publish how far they can be trusted."""
    from eval.suites.judges import measure_judges as measure

    subject = Subject(
        run="judges/judges", seed=0, checkpoint_sha256="", data_fingerprint=data_fingerprint(config.miniweb)
    )
    settings = (config.judge, config.bootstrap_replicates)

    def measurements() -> list[Measurement]:
        _use_threads(config)
        return list(measure(config))

    run_suite(config.output_dir / "judges", subject, settings, measurements)


def _load_instruments(config: EvalConfig) -> "Instruments":
    from clip_train.model import load_encoder
    from eval.embeddings import Embeddings
    from eval.judge_files import judge_sha8, load_judge
    from eval.judge_network import JUDGE_NAMES
    from eval.suites.images import Instruments

    hashes = {name: weights_sha256(folder) for name, folder in config.scorers.items()}
    _refuse_foundation(config, hashes)
    device = pick_device(config.device)
    judges = {name: load_judge(config.judges, name) for name in JUDGE_NAMES}
    return Instruments(
        judges=judges,
        judge_sha8={name: judge_sha8(config.judges, name) for name in JUDGE_NAMES},
        scorers={
            name: Embeddings(load_encoder(folder, device), config.batch_size) for name, folder in config.scorers.items()
        },
        scorer_sha8={name: sha256[:8] for name, sha256 in hashes.items()},
    )


def _refuse_foundation(config: EvalConfig, hashes: Mapping[str, str]) -> None:
    """A model that conditioned the generators can't be asked how well they follow it."""
    if config.foundation is None:
        return
    foundation = weights_sha256(config.foundation)
    for name, sha256 in hashes.items():
        if sha256 == foundation:
            raise UserError(
                "the scorer is the foundation that conditions the generators",
                where=f"scorers.{name}",
                found=sha256[:8],
                wanted="a CLIP trained apart from it",
            )


def _sidecar_hashes(config: EvalConfig) -> tuple[tuple[str, str], ...]:
    """Hash the completion marks of the captions measured; a mark holds the hash of its parquet."""
    return tuple(
        (split, hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*_stats.json")))).hexdigest())
        for split, folder in sorted(config.recaptions.items())
    )


def _use_threads(config: EvalConfig) -> None:
    torch.set_num_threads(config.threads)
