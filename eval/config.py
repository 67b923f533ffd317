"""Configuration of the suites: one file per preset serves them all, so that every arm is measured alike."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eval.datasets.entries import REGISTRY
from runtime.errors import UserError

SUITES = ("captions", "modes", "captioner", "clip", "images", "judges")


@dataclass(frozen=True, kw_only=True)
class CaptionsConfig:
    """Caption statistics and claims, of originals, recaptions and the oracle."""

    max_web_samples: int = 20_000
    """Web samples whose captions are counted for length and vocabulary."""
    max_heldout_samples: int = 1_000
    """Held-out samples per domain whose claims are checked against the truth."""


@dataclass(frozen=True, kw_only=True)
class CaptionerConfig:
    """Questions about objects, put to the captioner on its own domain."""

    num_images: int = 300
    """Held-out images of the captioner's domain that are asked about."""
    questions_per_image: int = 2
    """Questions per image: half of them about things that are there."""
    max_new_tokens: int = 24
    """Longest answer, in tokens."""


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Retrieval, zero-shot classification and attribute swap."""

    max_samples: int | None = None
    """Samples read from each benchmark; null reads all."""


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """Images drawn from prompts, and their judging."""

    num_prompts: int = 300
    """Prompts of each set."""
    num_steps: int = 10
    """Sampling steps."""
    fixed_guidance: float = 3.0
    """Guidance scale at which all arms are compared."""
    guidance_scales: tuple[float, ...] = (1.5, 3.0, 5.0)
    """Scales among which each arm's best is chosen, by claims on development prompts."""
    num_development_prompts: int = 96
    """Development prompts of that choice; they share no scene with the test prompts."""
    num_pictures: int = 12
    """Images of each set that are kept as files for the report."""

    def __post_init__(self) -> None:
        """Check that a choice of guidance is possible."""
        if not self.guidance_scales:
            raise UserError("no guidance scale to choose from", where="images.guidance_scales", found=(), wanted="one")


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Training of the two judges on true renders."""

    num_updates: int = 1200
    """Updates of each judge."""
    batch_size: int = 64
    """Renders per update."""
    learning_rate: float = 3e-3
    """Peak learning rate of the one-cycle schedule."""
    max_train_samples: int = 12_000
    """True renders read for training; each judge learns from its own half."""
    max_test_samples: int = 1_000
    """True renders on which ceiling, false accepts and agreement are measured."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What to measure, and how; the suites read the parts they need."""

    output_dir: Path
    """Evaluation folder of the measured run; each suite writes `<output_dir>/<suite>/`."""
    miniweb: Path
    """Folder of the built data set (`manifest.json` inside)."""
    run: Path | None = None
    """Run folder whose `export/` is measured, `<root>/<stage>/<name>`; `judges` needs none."""
    recaptions: dict[str, Path] = field(default_factory=dict)
    """The captioner's sidecar folders by split (web, web_heldout, captioner_heldout, prompts); `modes`: the one whose
    captions know the alt-text."""
    judges: Path | None = None
    """Folder of the trained judges (`output_dir` of the `judges` suite), needed by `images`."""
    scorers: dict[str, Path] = field(default_factory=dict)
    """CLIP scorers by name: open_clip folders that conditioned none of the generators; may be empty."""
    foundation: Path | None = None
    """Exported foundation CLIP, so that `images` can refuse it as a scorer."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run."""
    threads: int = 1
    """CPU threads."""
    batch_size: int = 64
    """Images or texts per forward pass."""
    bootstrap_replicates: int = 1000
    """Bootstrap replicates behind each interval."""
    captions: CaptionsConfig = CaptionsConfig()
    """Caption statistics and claims."""
    captioner: CaptionerConfig = CaptionerConfig()
    """Questions to the captioner."""
    clip: ClipConfig = ClipConfig()
    """Contrastive models."""
    images: ImagesConfig = ImagesConfig()
    """Text-to-image models."""
    judge: JudgeConfig = JudgeConfig()
    """Judges of generated images."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """A contrastive model and the published test sets on which it is measured."""

    model: str
    """`local-dir:FOLDER` or a folder that open_clip reads, `hf-hub:ORG/NAME`, or `NAME,PRETRAINED` (tag or file)."""
    datasets: dict[str, Path]
    """Data sets by name, with the folder of each: `--datasets.coco DATA/coco`; any CLIP_benchmark webdataset is
    `wds/NAME`. `configs/eval/datasets.yaml` lists the names."""
    output_dir: Path
    """Folder of rows; those of several models go to one `rows.jsonl` in it."""
    name: str | None = None
    """What rows call the model; null derives it from `model`."""
    modes: tuple[Literal["official", "clip_benchmark"], ...] = ("official",)
    """How scores are counted where harnesses differ: each benchmark's own way, or CLIP_benchmark's."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """In what the towers compute; features and scores are float32 or more."""
    partial: bool = False
    """Measure data sets whose counts are not the published ones; their rows then compare with none that are whole."""
    registry: Path = REGISTRY
    """The file that says what the data sets are."""
    cache: Path | None = None
    """Folder of embeddings, kept for the next command; null is `<output_dir>/embeddings`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    threads: int = 1
    """CPU threads of the model, on each rank."""
    decode_threads: int = 4
    """Threads that read, decode and resize pictures, on each rank."""
    batch_size: int = 64
    """Images or texts per forward pass."""
    bootstrap_replicates: int = 1000
    """Bootstrap replicates behind each interval."""

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        if not self.datasets:
            fix = "Pass --datasets.NAME FOLDER"
            raise UserError("no data set to measure on", where="datasets", found={}, wanted="one or more", fix=fix)
        for name in ("threads", "decode_threads", "batch_size", "bootstrap_replicates"):
            if getattr(self, name) < 1:
                raise UserError("must be positive", where=name, found=getattr(self, name), wanted="1 or more")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Rows, and where they go in other tools' formats."""

    rows: Path
    """A file of rows, such as `rows.jsonl` or `results.jsonl`."""
    output_dir: Path
    """Folder to write to: `clip_benchmark/*.json`, `clip_benchmark.csv`, `datacomp/<model>/eval_results.jsonl`."""
    registry: Path = REGISTRY
    """The file that says what the data sets are called elsewhere."""


@dataclass(frozen=True, kw_only=True)
class LmmsConfig:
    """What lmms-eval measured of a captioner, to be taken over into our rows."""

    results: Path
    """lmms-eval's `<date>_results.json`, the samples that it logged beside it."""
    run: Path
    """Run folder whose `export/` lmms-eval loaded, `<root>/captioner/<name>`."""
    output_dir: Path
    """Evaluation folder of the run; rows go to `<output_dir>/lmms/`."""
    loaded_as: str | None = None
    """What lmms-eval was told to load, where that is not the run's `export/`: a copy of it, or its name on the Hub."""
    bootstrap_replicates: int = 1000
    """Bootstrap replicates behind each interval."""


@dataclass(frozen=True, kw_only=True)
class PicturesConfig:
    """Any folder of drawn pictures: distances to true ones, and fit to the prompts."""

    pictures: Path
    """Folder that `dit_train.sample` filled, or any folder of picture files."""
    output_dir: Path
    """Evaluation folder; rows go to `<output_dir>/pictures/`."""
    reference: Path | None = None
    """Folder of true pictures to be near to."""
    inception: Path | None = None
    """The Inception of 2015 as torch-fidelity publishes it, `weights-inception-2015-12-05-6726825d.pth`: with it alone
    are distances called FID and KID."""
    extractors: dict[str, Path] = field(default_factory=dict)
    """Other extractors of features by name, open_clip directories: their distances are called FD[name] and KD[name]."""
    scorers: dict[str, Path] = field(default_factory=dict)
    """CLIP scorers by name, open_clip directories; prompts come from the manifest."""
    num_pictures: int | None = None
    """Pictures there must be; left out, those there are."""
    run: str | None = None
    """Name that rows carry, `<stage>/<name>`; left out, `pictures/FOLDER`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run."""
    threads: int = 1
    """CPU threads."""
    batch_size: int = 64
    """Pictures or prompts per forward pass."""
    bootstrap_replicates: int = 1000
    """Bootstrap replicates behind the intervals of CLIP scores, precision and recall."""

    def __post_init__(self) -> None:
        """Check that there is something to measure, and with what."""
        if self.reference is None and not self.scorers:
            raise UserError("nothing to measure", where="reference, scorers", found="neither", wanted="one at least")
        if self.reference is not None and self.inception is None and not self.extractors:
            fix = "Give --inception WEIGHTS, or --extractors.NAME an open_clip directory"
            raise UserError("no extractor of features", where="inception, extractors", found="neither", fix=fix)


@dataclass(frozen=True, kw_only=True)
class GenEvalFolderConfig:
    """Pictures to be laid out for GenEval's detector."""

    prompts: Path
    """GenEval's `evaluation_metadata.jsonl`."""
    pictures: Path
    """Folder that `dit_train.sample` filled from that file, with four pictures a prompt by the published protocol."""
    output_dir: Path
    """Folder for GenEval's `evaluate_images.py` to read."""


@dataclass(frozen=True, kw_only=True)
class GenEvalConfig:
    """What GenEval found in a run's pictures, to be taken over into our rows."""

    prompts: Path
    """GenEval's `evaluation_metadata.jsonl`, or a file like it: the prompts that were drawn."""
    results: Path
    """`results.jsonl` of its `evaluate_images.py`."""
    run: Path
    """Run folder whose `export/` drew the pictures, `<root>/dit/<name>`."""
    output_dir: Path
    """Evaluation folder of the run; rows go to `<output_dir>/geneval/`."""
    pictures_per_prompt: int = 4
    """Pictures that each prompt must have; the published protocol draws four."""
    mode: Literal["recorded", "reference"] = "recorded"
    """Whether a picture is right: as recorded, or judged anew by the published rules from the boxes recorded (colours
    as recorded)."""
    bootstrap_replicates: int = 1000
    """Bootstrap replicates behind each interval."""

    def __post_init__(self) -> None:
        """Check that there are pictures."""
        if self.pictures_per_prompt < 1:
            raise UserError("out of range", where="pictures_per_prompt", found=self.pictures_per_prompt, wanted=">= 1")


@dataclass(frozen=True, kw_only=True)
class ResultsConfig:
    """Where an experiment's results lie, for `collect`, `tables` and `report`."""

    root: Path
    """Folder of the preset's runs, such as `runs/mini`."""
    experiments: Path
    """The experiments file that declares the runs."""
    findings: Path = Path("configs/experiments/findings.yaml")
    """The declared contrasts."""
    bootstrap_replicates: int = 1000
    """Bootstrap replicates behind each contrast."""
