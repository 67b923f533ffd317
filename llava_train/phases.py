"""Train a captioner phase after phase; killed anywhere, the same command continues and ends in the same weights.

The phases are LLaVA's (alignment, instructions) and the paper's (detailed captions), with language pre-training before
them. Which parts each phase moves is config: the paper freezes the vision tower throughout and moves only the projector
in alignment; the miniature presets say in their headers where and why they depart.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from peft.tuners.lora import LoraModel
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from imagetext.picture_store import PictureStore
from llava_train.assembly import assemble, load_foundations, prepare_run_tokenizer
from llava_train.attention import captioner_attention, require_packable
from llava_train.batch import collate
from llava_train.compute import CaptionerCost
from llava_train.config import PHASES, FineTuneConfig, PhaseConfig, PhaseName
from llava_train.corpus import Corpus, files_of, open_pictures, read_corpus
from llava_train.evaluation import Evaluation, Reading, open_evaluation
from llava_train.export import export_captioner
from llava_train.hand_over import HandOver
from llava_train.hub import local_folder
from llava_train.inputs import record_inputs, refuse_other_inputs
from llava_train.lora import add_adapters, merge_adapters
from llava_train.network import SupervisedCaptioner
from llava_train.parts import num_image_tokens, vision_modules
from llava_train.pixels import Normaliser, PixelGeometry, read_geometry
from llava_train.recompute import recompute_blocks
from llava_train.renderers import check_conversations, open_renderer
from llava_train.source import ConversationSource
from llava_train.task import AnswerTask
from llava_train.workload import Workload
from runtime.checkpoints import load_weights, tied_once, write_weights
from runtime.device import pick_device
from runtime.launch import is_main_process
from runtime.loop import FitResult, fit
from runtime.run import Run
from runtime.seeds import derive

PLACES = ("output_dir", "data", "vision_tower", "pretrained_language_model")
"""Where things lie may change between two starts; what the files hold may not (`llava_train.inputs`)."""
LOOP_PLACES = ("loop.device", "loop.wandb", "loop.checkpoint_every_updates", "loop.keep_last")
PUBLISHED_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WEIGHTS = "model.safetensors"
"""What a finished phase leaves for the next one, in `phases/<name>/`."""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """What all phases of a run share."""

    config: FineTuneConfig
    run: Run
    corpus: Corpus
    pictures: PictureStore
    tokenizer: PreTrainedTokenizerBase
    geometry: PixelGeometry
    captioner: HandOver[LlavaForConditionalGeneration]
    """Trained phase after phase."""


def fine_tune(config: FineTuneConfig) -> Path:
    """Run the phases that are not finished yet and publish the captioner; return the published folder."""
    excluded = ("plan", "preview", "num_workers")
    excludes = [*PLACES, *excluded, *(f"{phase}.{field}" for phase in PHASES for field in LOOP_PLACES)]
    run = Run.open(config.output_dir, config, identity_excludes=excludes)
    if is_main_process():
        refuse_other_inputs(run, config)
    if run.finished():
        return run.export
    bench = _prepare(config, run)
    # All are built before the first phase trains, so that what is wrong with the last one's data shows now; each leaves
    # the memory with its phase.
    sources = {name: _source(bench, name) for name in config.phases}
    evaluations = {name: _evaluation(bench, name) for name in config.phases}
    facts = {name: _complete_phase(bench, name, sources.pop(name), evaluations.pop(name)) for name in config.phases}
    if is_main_process():
        dtype = PUBLISHED_DTYPES[config.published_precision]
        export_captioner(bench.captioner.llava(), bench.tokenizer, bench.geometry, run.export, dtype=dtype)
    run.finish(phases=facts)
    return run.export


def _prepare(config: FineTuneConfig, run: Run) -> Workbench:
    corpus = read_corpus(config)
    pictures = open_pictures(config, files_of(corpus))
    foundations = load_foundations(config)
    geometry = replace(read_geometry(local_folder(config.vision_tower)), pad=config.pad_images)
    device = pick_device(config.phase(config.phases[0]).loop.device)
    # First of what depends on the inputs, and after the checks, so that a mistake can be put right in the same folder.
    if is_main_process():
        record_inputs(run, config)
    tokenizer = prepare_run_tokenizer(config, corpus, run.folder / "tokenizer")
    attention = captioner_attention(device)
    captioner = HandOver(
        assemble(config, foundations, tokenizer, attention=attention),
        lambda: assemble(config, load_foundations(config), tokenizer, attention=attention),
    )
    return Workbench(
        config=config,
        run=run,
        corpus=corpus,
        pictures=pictures,
        tokenizer=tokenizer,
        geometry=geometry,
        captioner=captioner,
    )


def _complete_phase(
    bench: Workbench, name: PhaseName, source: ConversationSource, evaluation: Evaluation
) -> Mapping[str, object]:
    """Train one phase, or load what it ended with; return what is known of it."""
    phase = bench.config.phase(name)
    run = Run.open(bench.run.folder / "phases" / name, phase, identity_excludes=LOOP_PLACES)
    if run.finished():
        bench.captioner.load(run.folder / WEIGHTS)
        return run.facts()
    llava, adapters = _prepare_phase(bench, name)
    result = fit(
        task=AnswerTask(),
        # It was built or loaded to answer; blocks recompute, and adapters drop, only in training.
        model=SupervisedCaptioner(llava, Normaliser(bench.geometry)).train(),
        source=source,
        config=phase.loop,
        run=run,
        seed=bench.config.seed,
        learning_rate_multipliers=_multipliers(phase),
        workload=_workload(bench, llava),
        heldout=evaluation.heldout,
        on_update=evaluation.probe,
    )
    weights = run.folder / WEIGHTS
    if adapters is not None:
        _merge(bench, name, result, weights)
    else:
        result.save_weights(weights, part="llava")
        bench.captioner.finish_phase(weights, is_usable=not result.engine.is_sharded)
    source.load_state_dict(result.engine.gather_objects(source.state_dict()))
    run.finish(data=source.audit(), metrics=result.metrics)
    return run.facts()


def _prepare_phase(bench: Workbench, name: PhaseName) -> tuple[LlavaForConditionalGeneration, LoraModel | None]:
    """Return the captioner with the phase's parts let loose, and its adapters where it trains those."""
    phase, llava = bench.config.phase(name), bench.captioner.llava()
    freeze(llava, phase)
    recompute_blocks(llava, phase.gradient_checkpointing)
    if phase.lora is None:
        return llava, None
    return llava, add_adapters(llava, phase.lora, derive(bench.config.seed, "lora", name))


def _merge(bench: Workbench, name: PhaseName, result: FitResult, weights: Path) -> None:
    """Merge a phase's adapters into what they stand on: both go by way of a file into a new captioner.

    Merged weights are float32: they would not fit beside what trained on every GPU that could train it, nor once for
    every rank into a machine. So the main process merges them on the CPU, and the next phase's captioner is built from
    the file.
    """
    adapted = weights.with_name("adapted.safetensors")
    result.save_weights(adapted, part="llava")
    bench.captioner.drop()
    if is_main_process():
        llava, adapters = _prepare_phase(bench, name)
        assert adapters is not None, "a phase with adapters has them again"
        load_weights(adapted, llava)
        merge_adapters(adapters)
        write_weights(weights, tied_once(llava))
        adapted.unlink()
    result.engine.wait_for_all()
    bench.captioner.finish_phase(weights, is_usable=False)


def _multipliers(phase: PhaseConfig) -> dict[str, float]:
    """Return the factors on the learning rate by the beginnings of the weights' names."""
    return {
        "llava.model.vision_tower.": phase.vision_tower_learning_rate_multiplier,
        "llava.model.multi_modal_projector.": phase.projector_learning_rate_multiplier,
    }


def freeze(llava: LlavaForConditionalGeneration, phase: PhaseConfig) -> None:
    """Let only the phase's parts move; of the vision tower, only what lies below the feature layer can.

    Under LoRA the language model's own weights stay frozen, its head with them.
    """
    llava.requires_grad_(False)
    if "language_model" in phase.moving_parts and phase.lora is None:
        llava.model.language_model.requires_grad_(True)
        llava.lm_head.requires_grad_(True)
    if "projector" in phase.moving_parts:
        llava.model.multi_modal_projector.requires_grad_(True)
    if "vision_tower" in phase.moving_parts:
        embeddings, first_norm, layers = vision_modules(llava)
        for module in (embeddings, first_norm, *layers):
            module.requires_grad_(True)


def _workload(bench: Workbench, llava: LlavaForConditionalGeneration) -> Workload:
    pad_id, image_id = int(bench.tokenizer.pad_token_id), int(llava.config.image_token_id)
    return Workload(CaptionerCost(llava), pad_id=pad_id, image_id=image_id)


def _evaluation(bench: Workbench, name: PhaseName) -> Evaluation:
    return open_evaluation(bench.config, name, _reading(bench, name), bench.run.folder / "phases" / name)


def _reading(bench: Workbench, name: PhaseName) -> Reading:
    phase = bench.config.phase(name)
    llava = bench.captioner.llava()
    if phase.packing:
        require_packable(llava)
    return Reading(
        render=open_renderer(bench.config, name, bench.tokenizer, num_image_tokens(llava)),
        collate=partial(
            collate,
            pad_id=int(bench.tokenizer.pad_token_id),
            max_row_tokens=bench.config.longest_sequence_tokens if phase.packing else None,
        ),
        tokenizer=bench.tokenizer,
        geometry=bench.geometry,
    )


def _source(bench: Workbench, name: PhaseName) -> ConversationSource:
    phase, reading = bench.config.phase(name), _reading(bench, name)
    skipped = check_conversations(bench.corpus[name], reading.render, max_bad_share=bench.config.max_bad_share)
    if skipped is not None and is_main_process():
        print(f"phase {name}: {skipped}", file=sys.stderr, flush=True)
    source = ConversationSource(
        conversations=bench.corpus[name],
        pictures=bench.pictures,
        render=reading.render,
        geometry=bench.geometry,
        loop=phase.loop,
        collate=reading.collate,
        num_image_tokens=num_image_tokens(bench.captioner.llava()),
        max_bad_share=bench.config.max_bad_share,
        seed_parts=(bench.config.seed, name),
        short_first=phase.short_first,
        num_workers=bench.config.num_workers,
    )
    source.refuse_missing_pictures()
    return source
