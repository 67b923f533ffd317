"""What a run was started on, by fingerprint, so that it is never continued on something else."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from imagetext import files
from llava_train.config import FineTuneConfig
from llava_train.hub import local_folder
from llava_train.pixels import PROCESSOR_FILES
from llava_train.weight_identity import weight_fingerprint
from runtime.atomic import write_json
from runtime.errors import UserError
from runtime.json_files import read_object
from runtime.run import Run

FILE_NAME = "inputs.json"
WEIGHT_PATTERNS = ("*.safetensors", "*.bin")
"""Files of a model's weights, in the order in which transformers prefers them."""
LANGUAGE_FILES = ("config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja")
"""Files besides the weights that decide what a language model reads and says."""


def record_inputs(run: Run, config: FineTuneConfig) -> None:
    """Write the fingerprints of a run's inputs, unless an earlier start did."""
    if not (run.folder / FILE_NAME).exists():
        write_json(run.folder / FILE_NAME, fingerprints(config))


def refuse_other_inputs(run: Run, config: FineTuneConfig) -> None:
    """Raise UserError naming the input that differs from what the run's first start recorded, if it recorded any.

    Pictures are not read for it: they count by the names in the conversations.
    """
    if not (run.folder / FILE_NAME).exists():
        return
    recorded, found = read_object(run.folder / FILE_NAME), fingerprints(config)
    for name in dict.fromkeys([*recorded, *found]):
        _require_same(run, config, name, found.get(name, "no such input"), recorded.get(name, "no such input"))


def fingerprints(config: FineTuneConfig) -> Mapping[str, str]:
    """Return the identity of each input file by its name: the models' first, then the conversations of all phases.

    It is the SHA-256 of the file, for large files of weights that of a sample (`llava_train.weight_identity`).
    """
    return {name: _fingerprint(path) for name, path in _input_files(config)}


def _fingerprint(path: Path) -> str:
    is_weights = any(path.match(pattern) for pattern in WEIGHT_PATTERNS)
    return weight_fingerprint(path) if is_weights else files.sha256(path)


def _input_files(config: FineTuneConfig) -> Iterator[tuple[str, Path]]:
    tower = local_folder(config.vision_tower)
    for path in [*_weight_files(tower), *_present(tower, PROCESSOR_FILES)]:
        yield f"vision_tower/{path.name}", path
    if config.pretrained_language_model is not None:
        language_model = local_folder(config.pretrained_language_model)
        for path in [*_weight_files(language_model), *_present(language_model, LANGUAGE_FILES)]:
            yield f"pretrained_language_model/{path.name}", path
    for file_name in dict.fromkeys(name for phase in config.phases for name in config.phase(phase).conversations):
        yield f"data/{file_name}", config.data / file_name


def _weight_files(folder: Path) -> list[Path]:
    groups = (sorted(folder.glob(pattern)) for pattern in WEIGHT_PATTERNS)
    found = next((group for group in groups if group), [])
    if not found:
        wanted = "a model saved by transformers, with its weights"
        raise UserError("no weights here", where=folder, found=f"no {' and no '.join(WEIGHT_PATTERNS)}", wanted=wanted)
    return found


def _present(folder: Path, names: Iterable[str]) -> list[Path]:
    return [folder / name for name in names if (folder / name).exists()]


def _require_same(run: Run, config: FineTuneConfig, name: str, found: str, wanted: str) -> None:
    if found != wanted:
        place, _, file_name = name.partition("/")
        folders = {"vision_tower": config.vision_tower, "data": config.data}
        folder = folders.get(place, Path(config.pretrained_language_model or ""))
        raise UserError(
            f"{run.folder} was started on another {name}",
            where=folder / file_name,
            found=found,
            wanted=wanted,
            fix=f"Give back the {place} it was started on, or choose another output_dir",
        )
