"""What is published, read by others' programs: a fresh Python, CLIP_benchmark's command line, open_clip's trainer."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import webdataset
from huggingface_hub import ModelCard
from PIL import Image

from clip_train.model import load_encoder
from clip_train.train import train
from runtime.loop_config import LoopConfig
from tests.clip_train.test_model_files import small
from tests.clip_train.test_train import COLOURS, config_of, web, weights

__all__ = ["web"]

NUM_UPDATES = 8
TEXTS = ["a red shop", "the image is blue. it is plain.", ""]
READ_BY_A_STRANGER = """
import sys
import open_clip, torch
torch.set_num_threads(1)
folder, images, found = sys.argv[1:]
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
ids = open_clip.get_tokenizer(f"local-dir:{folder}")(%r)
with torch.no_grad():
    pixels = torch.load(images)
    features = model.eval().encode_image(pixels), model.encode_text(ids)
torch.save([ids, *features], found)
ours = [name for name in sys.modules if name.split(".")[0] in ("clip_train", "imagetext", "runtime")]
assert not ours, ours
"""


def fresh(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python that knows nothing of this project."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env={**environment, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def trained(web: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a released model's kind, two epochs long; its folder."""
    folder = tmp_path_factory.mktemp("published")
    loop = LoopConfig(
        num_updates=NUM_UPDATES, batch_size=6, learning_rate=1e-3, weight_decay=0.2, beta2=0.95, device="cpu",
        wandb="off",
    )  # fmt: skip
    model = str(small("Recap-CLIP-B-16", folder))
    train(config_of(web, folder / "run", model=model, loop=loop, open_clip_checkpoint=True))
    return folder / "run"


@pytest.mark.slow
def test_a_fresh_python_computes_the_same_bits(trained: Path, tmp_path: Path) -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.save(images, tmp_path / "images.pt")
    code = READ_BY_A_STRANGER % (TEXTS,)
    fresh(
        "-I", "-c", code, str(trained / "export"), str(tmp_path / "images.pt"), str(tmp_path / "found.pt"), cwd=tmp_path
    )
    ids, image_features, text_features = torch.load(tmp_path / "found.pt")
    encoder = load_encoder(trained / "export")
    with torch.no_grad():
        assert torch.equal(encoder.tokenizer(TEXTS), ids)
        assert torch.equal(encoder.model.encode_image(images), image_features)
        assert torch.equal(encoder.model.encode_text(ids), text_features)


def test_the_card_is_one_for_the_hub(trained: Path) -> None:
    card = ModelCard.load(trained / "export" / "README.md")
    assert card.data.library_name == "open_clip" and card.data.tags == ["clip", "open_clip"]
    tables = {line.split("|")[1].strip() for line in card.text.splitlines() if line.startswith("| :")}
    assert tables and "vision tower" in card.text and "| recaption" in card.text


def write_retrieval(folder: Path) -> list[tuple[Image.Image, list[str]]]:
    """Write pictures with two captions each in CLIP_benchmark's layout; return them."""
    generator = np.random.default_rng(0)
    pairs = []
    (folder / "test").mkdir(parents=True)
    (folder / "dataset_type.txt").write_text("retrieval")
    (folder / "test" / "nshards.txt").write_text("1")
    with webdataset.TarWriter(str(folder / "test" / "0.tar")) as writer:
        for index in range(12):
            image = Image.fromarray(generator.integers(0, 255, (24, 30, 3), dtype=np.uint8))
            captions = [f"{one} {COLOURS[index % 6]} {index}" for one in ("shop", "the image is")]
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            writer.write({"__key__": f"{index:04d}", "png": buffer.getvalue(), "txt": "\n".join(captions)})
            pairs.append((image, captions))
    return pairs


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_clip_benchmarks_command_line_evaluates_it(trained: Path, tmp_path: Path) -> None:
    pairs = write_retrieval(tmp_path / "pictures")
    fresh(
        "-m", "clip_benchmark.cli", "eval", "--model", f"local-dir:{trained / 'export'}", "--pretrained", "",
        "--dataset", "wds/pictures", "--dataset_root", str(tmp_path / "pictures"), "--task", "zeroshot_retrieval",
        "--recall_k", "1", "3", "--no_amp", "--num_workers", "0", "--output", str(tmp_path / "result.json"),
        cwd=tmp_path,
    )  # fmt: skip
    metrics = json.loads((tmp_path / "result.json").read_text())["metrics"]
    encoder = load_encoder(trained / "export")
    images = encoder.encode_images([image for image, _ in pairs])
    texts = encoder.encode_texts([caption for _, captions in pairs for caption in captions])
    best = (texts @ images.T).topk(3, dim=1).indices
    of_text = torch.arange(len(texts)) // 2
    for k in (1, 3):
        hits = (best[:, :k] == of_text[:, None]).any(dim=1).float().mean()
        assert metrics[f"image_retrieval_recall@{k}"] == pytest.approx(float(hits), abs=1e-6)


def test_the_checkpoint_is_what_open_clips_trainer_loads(trained: Path) -> None:
    """Model and optimizer built as it builds them; moments and counts come to the weights that they are of."""
    checkpoint = torch.load(trained / "open_clip" / "epoch_2.pt", map_location="cpu")
    assert checkpoint["epoch"] == 2
    model = open_clip.create_model(f"local-dir:{trained / 'export'}")
    model.load_state_dict(checkpoint["state_dict"])
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    spared = [
        one for name, one in named
        if one.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name
    ]  # fmt: skip
    rest = [one for _, one in named if all(one is not other for other in spared)]
    optimizer = torch.optim.AdamW([{"params": spared, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.1}])
    optimizer.load_state_dict(checkpoint["optimizer"])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.2]
    expected = weights(trained)
    for name, parameter in named:
        state = optimizer.state[parameter]
        assert torch.equal(parameter, expected[name]) and int(state["step"]) == NUM_UPDATES
        assert state["exp_avg"].shape == parameter.shape
    moved = optimizer.state[dict(named)["visual.proj"]]
    # A step of AdamW is about the learning rate, of what the moments say.
    assert 0 < float((moved["exp_avg"] / (moved["exp_avg_sq"].sqrt() + 1e-12)).abs().max()) < 5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_open_clips_trainer_resumes_from_it(web: Path, trained: Path, tmp_path: Path) -> None:
    program = (
        "import sys, webdataset, open_clip_train.data as data\n"
        "from open_clip_train.main import main\n"
        "data.tarfile_to_samples_nothrow = webdataset.tarfile_to_samples(handler=data.log_and_continue)\n"
        "main(sys.argv[1:])"
    )
    done = fresh(
        "-c", program, "--train-data", str(web / "shards" / "00000.tar"), "--dataset-type", "webdataset",
        "--train-num-samples", "6", "--model", f"local-dir:{trained / 'export'}", "--batch-size", "6", "--workers", "0",
        "--epochs", "3", "--warmup", "0", "--lr", "1e-3", "--precision", "fp32", "--device", "cpu",
        "--resume", str(trained / "open_clip" / "epoch_2.pt"), "--logs", str(tmp_path), "--name", "on",
        cwd=tmp_path,
    )  # fmt: skip
    assert "resuming checkpoint" in done.stderr and "(epoch 2)" in done.stderr
    after = torch.load(tmp_path / "on" / "checkpoints" / "epoch_3.pt")
    assert after["epoch"] == 3
    assert {int(state["step"]) for state in after["optimizer"]["state"].values()} == {NUM_UPDATES + 1}
    before = weights(trained)["visual.proj"]
    moved = (after["state_dict"]["visual.proj"] - before).abs().max()
    assert 0 < float(moved) < 2e-2
