"""Eight test sets over the same pictures: encoded once, beside CLIP_benchmark's own command line."""

import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from eval.rows import read_rows
from runtime.tables import markdown_table

ABOUT = """\
COCO's captions and SugarCrepe's seven sets show the same photographs. Here as many sets lie over planted pictures: one
of retrieval with five captions each, seven of a true and a false caption, each of them over all pictures. `eval
benchmark` decodes and encodes a picture and a text once for all of them, puts a 95 % interval beside each number, and
is one command; CLIP_benchmark 1.6.2 encodes them for each set, and takes one command for the retrieval and one for the
rest. In float32, on one core, without worker processes; the model is a small ViT at 224 px with random weights, which
costs what a trained one of its size does. Seconds are those of a core, start and imports included. Sets that share no
picture gain nothing but the second start."""
SUBSETS = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
CAPTIONS = 5


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many pictures, how large, and how large a model looks at them."""

    num_pictures: int = 300
    picture_px: tuple[int, int] = (640, 480)
    width: int = 192
    layers: int = 6
    image_size_px: int = 224


SIZES = {"full": Size(), "tiny": Size(num_pictures=12, picture_px=(40, 30), width=32, layers=1, image_size_px=32)}


def measure(size: Size, repeats: int) -> str:
    """Return seconds of a core for both, and how far their numbers differ at most."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_model(folder / "model", size)
        _write_data(folder / "data", size)
        ours, theirs = [], []
        for turn in range(repeats):
            ours.append(_cpu_seconds([_our_command(folder, turn)]))
            theirs.append(_cpu_seconds(_their_commands(folder)))
        difference = _largest_difference(folder)
    rows = [("`eval benchmark`", *_shown(ours)), ("CLIP_benchmark", *_shown(theirs))]
    ratio = median(theirs) / median(ours)
    table = markdown_table(("way", "seconds of a core", "lowest and highest"), rows)
    return f"{table}\n{ratio:.1f} times as fast. No number of theirs differs from ours by more than {difference:.0e}.\n"


def _our_command(folder: Path, turn: int) -> list[str]:
    data = folder / "data"
    flags = ["--model", str(folder / "model"), "--datasets.wds/pairs", str(data / "pairs"), "--partial", "true"]
    flags += ["--datasets.sugar_crepe", str(data / "sugar"), "--modes", "[clip_benchmark]", "--device", "cpu"]
    output = folder / f"ours{turn}"
    return ["-m", "eval", "benchmark", *flags, "--decode_threads", "1", "--output_dir", str(output)]


def _their_commands(folder: Path) -> list[list[str]]:
    model = ["--pretrained_model", f"local-dir:{folder / 'model'},", "--no_amp", "--num_workers", "0", "--quiet"]
    output = ["--output", str(folder / "theirs_{dataset}.json")]
    start = ["-m", "clip_benchmark.cli", "eval", *model, *output]
    sugar = [f"sugar_crepe/{subset}" for subset in SUBSETS]
    pairs = ["--dataset", "wds/pairs", "--dataset_root", str(folder / "data" / "pairs")]
    return [
        [*start, *pairs, "--task", "zeroshot_retrieval", "--recall_k", "1", "5", "10"],
        [*start, "--dataset", *sugar, "--dataset_root", str(folder / "data" / "sugar")],
    ]


def _cpu_seconds(commands: Sequence[Sequence[str]]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _largest_difference(folder: Path) -> float:
    ours = {row.metric: row.value for row in read_rows(folder / "ours0" / "rows.jsonl")}
    differences = []
    for path in folder.glob("theirs_*.json"):
        result: Mapping[str, Mapping[str, float]] = json.loads(path.read_text())
        name = str(result["dataset"]).replace("/", "_")
        differences += [abs(value - ours[f"{name}/{metric}"]) for metric, value in result["metrics"].items()]
    return max(differences)


def _shown(seconds: Sequence[float]) -> tuple[str, str]:
    return f"{median(seconds):.1f}", f"[{min(seconds):.1f}, {max(seconds):.1f}]"


def _write_model(folder: Path, size: Size) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    vision = {"image_size": size.image_size_px, "layers": size.layers, "width": size.width, "head_width": 32}
    text = {"context_length": 32, "vocab_size": 49408, "width": size.width, "heads": size.width // 32}
    config = {
        "embed_dim": size.width,
        "vision_cfg": {**vision, "patch_size": 16},
        "text_cfg": {**text, "layers": size.layers},
    }
    torch.manual_seed(0)
    folder.mkdir()
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    colours = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": colours}))


def _write_data(folder: Path, size: Size) -> None:
    split, pictures = folder / "pairs" / "test", folder / "sugar" / "val2017"
    split.mkdir(parents=True)
    pictures.mkdir(parents=True)
    (folder / "pairs" / "dataset_type.txt").write_text("retrieval")
    (split / "nshards.txt").write_text("1")
    with tarfile.open(split / "0.tar", "w") as tar:
        for index in range(size.num_pictures):
            encoded = _picture(index, size.picture_px)
            (pictures / f"{index:012}.jpg").write_bytes(encoded)
            captions = "\n".join(f"picture {index} as person {person} tells it" for person in range(CAPTIONS))
            for extension, data in (("jpg", encoded), ("txt", captions.encode())):
                member = tarfile.TarInfo(f"s{index:07}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    for subset in SUBSETS:
        cases = {
            str(index): {
                "filename": f"{index:012}.jpg",
                "caption": f"picture {index} as person 0 tells it",
                "negative_caption": f"picture {index} with {subset} false",
            }
            for index in range(size.num_pictures)
        }
        (folder / "sugar" / f"{subset}.json").write_text(json.dumps(cases))


def _picture(seed: int, size_px: tuple[int, int]) -> bytes:
    """Return a JPEG with smooth colours, whose size in bytes is near a photograph's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(coarse).resize(size_px, Image.Resampling.BICUBIC).save(encoded, format="JPEG", quality=90)
    return encoded.getvalue()
