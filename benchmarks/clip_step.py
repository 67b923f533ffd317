"""Training a CLIP on CPU beside open_clip 3.3.0: from JPEG tars to steps, the step alone, and the loader alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from open_clip.model import CLIP

from benchmarks.clip_data import Shape, narrow_model, publish_untrained, write_shards
from benchmarks.clip_trainers import Setting
from benchmarks.clip_ways import END_ID, mixed_batch, own_step, own_training, their_model, their_step
from benchmarks.own_process import run_way
from benchmarks.race import Bar, Contender, Result, bars_table, race, spread, table, timed
from clip_train.architecture import model_config
from runtime.tables import markdown_table

ABOUT = """\
A CLIP of S/16's geometry, narrower, in bf16 autocast on one thread, batches and models alike for all. "padded" is the
model as the paper's was released: all 128 slots of a text are read. "masked" is its `-masked` variant, whose features
do not depend on padding; both trainers train both. One text in five is as long as a recaption, the others as alt-text.

*From tar to step*: an epoch of `open_clip_train.main` of open_clip_torch 3.3.0 and of `clip_train`, on the same JPEG
tars, from the same published weights with the same tokenizer, in one process that also loads; from the epoch's begin to
its last update, without start and checkpoint. Ours decodes JPEGs no smaller than 1.5 times the side that it trains on
and computes attention as plain products. open_clip's reader of tars wants webdataset 0.2; with later versions theirs
stands in, which takes a core as long (10.3 s of it for an epoch with 0.2.86, 10.2 s with 1.0.2). *The step alone*:
forward, softmax loss, backward and AdamW on tensors that are there already; open_clip's model as it builds it, its
`ClipLoss` and torch's AdamW, on images that are normalised, ours on bytes that it normalises. *The loader alone*: an
epoch from tar to batch; open_clip's `get_wds_dataset`, and webdataset's plain pipeline with open_clip's transform and
tokenizer. The tars lie in the page cache, and ours keeps no decoded picture.

Every way runs on one core: a bar holds by the seconds of a core that a sample takes, which other work on the machine
disturbs least."""

THEIRS, OURS = "open_clip", "OpenRecap"
EPOCH_BARS = tuple(
    Bar(faster=f"{OURS}, {model}", slower=f"{THEIRS}, {model}", least=1.5) for model in ("padded", "masked")
)
STEP_BARS = (Bar(faster="padded", slower=THEIRS, least=1.0), Bar(faster="masked", slower=THEIRS, least=1.2))


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is computed."""

    width: int = 192
    layers: int = 6
    image_size_px: int = 112
    context_length: int = 128
    batch_size: int = 64
    num_updates: int = 2
    num_shards: int = 4
    samples_per_shard: int = 64
    jpeg_width_px: int = 512

    @property
    def shape(self) -> Shape:
        """Return the model's."""
        return Shape(
            width=self.width,
            layers=self.layers,
            image_size_px=self.image_size_px,
            context_length=self.context_length,
        )

    def setting(self, model: str) -> Setting:
        """Return what a process is told of a model's training."""
        return Setting(
            model=model,
            num_shards=self.num_shards,
            samples_per_shard=self.samples_per_shard,
            batch_size=self.batch_size,
            image_size_px=self.image_size_px,
            context_length=self.context_length,
        )


_TINY = {"width": 32, "layers": 1, "image_size_px": 32, "batch_size": 4, "num_updates": 1}
SIZES = {"full": Size(), "tiny": Size(**_TINY, num_shards=2, samples_per_shard=4, jpeg_width_px=64)}


def measure(size: Size, repeats: int) -> str:
    """Return the tables of all three comparisons."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder / "shards", size.num_shards, size.samples_per_shard, size.jpeg_width_px)
        for model in ("padded", "masked"):
            (folder / model).mkdir()
            publish_untrained(folder / model, size.shape, model)
        epochs, loading = measure_epochs(folder, size, repeats), measure_loaders(folder, size, repeats)
    steps = measure_steps(size, repeats)
    shape = f"{size.width} wide, {size.layers} layers, {size.image_size_px} px, batches of {size.batch_size}"
    pictures = f"{size.num_shards} tars of {size.samples_per_shard} JPEGs, {size.jpeg_width_px} px wide"
    return (
        f"{shape}; {pictures}.\n\n## From tar to step\n\n{_section(epochs, EPOCH_BARS)}\n"
        f"## The step alone\n\n{_section(steps, STEP_BARS)}\n## The loader alone\n\n{_section(loading, ())}"
    )


def _section(results: Sequence[Result], bars: Sequence[Bar]) -> str:
    per_core = [
        [result.name, spread([1 / seconds for seconds in result.core_seconds], lambda value: f"{value:.4g}")]
        for result in results
    ]
    parts = [table(results, unit="samples"), markdown_table(["way", "samples / s of a core"], per_core)]
    if bars:
        parts.append(bars_table(results, bars, by_core=True))
    return "\n".join(parts)


def measure_epochs(folder: Path, size: Size, repeats: int) -> list[Result]:
    """Race both trainers on both models, from tar to step."""
    ours, theirs = "train_ours", "train_open_clip"
    ways = {}
    for model in ("padded", "masked"):
        setting = size.setting(model)
        ways[f"{THEIRS}, {model}"] = (theirs, setting)
        ways[f"{OURS}, {model}"] = (ours, replace(setting, reduced_decode=True))
    return _race_processes(folder, ways, repeats)


def measure_loaders(folder: Path, size: Size, repeats: int) -> list[Result]:
    """Race the loaders."""
    setting = size.setting("padded")
    ways = {
        THEIRS: ("load_open_clip", setting),
        "webdataset": ("load_webdataset", setting),
        OURS: ("load_ours", setting),
        f"{OURS}, decoding no larger than needed": ("load_ours", replace(setting, reduced_decode=True)),
    }
    return _race_processes(folder, ways, repeats)


def _race_processes(folder: Path, ways: dict[str, tuple[str, Setting]], repeats: int) -> list[Result]:
    used = [0.0]

    def contender(name: str) -> Contender:
        way, setting = ways[name]

        def seconds() -> float:
            took = run_way("benchmarks.clip_trainers", way, folder, setting.as_json())
            used[0] += took.cpu_seconds
            return took.seconds

        return Contender(name=name, seconds=seconds, num_items=setting.num_samples)

    return race([contender(name) for name in ways], repeats=repeats, warm_up=False, core_seconds=lambda: used[0])


def measure_steps(size: Size, repeats: int) -> list[Result]:
    """Race the steps on tensors."""
    batch = mixed_batch(size.batch_size, size.image_size_px, size.context_length)
    steps = {
        THEIRS: their_step(their_model(_config(size, "padded")), batch),
        "padded": own_step(own_training(CLIP(**_config(size, "padded"), output_dict=True), len(batch)), batch),
        "masked": own_step(own_training(CLIP(**_config(size, "masked"), output_dict=True), len(batch)), batch),
    }

    def contender(name: str) -> Contender:
        def updates() -> None:
            for _ in range(size.num_updates):
                steps[name]()

        return Contender(name=name, seconds=lambda: timed(updates), num_items=size.batch_size * size.num_updates)

    return race([contender(name) for name in steps], repeats=repeats)


def _config(size: Size, variant: str) -> dict[str, Any]:
    model = narrow_model(size.shape, variant)
    return model_config(
        model,
        image_size_px=size.image_size_px,
        vocab_size=model.config["text_cfg"]["vocab_size"],
        context_length=size.context_length,
        end_id=END_ID,
    )
