"""Any folder of pictures: named by its extractor, missing pictures refused, the registered Inception told by digest."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eval import __main__ as command
from eval.config import PicturesConfig
from eval.image_sets import extractors
from eval.image_sets.extractors import load_inception
from eval.image_sets.folder import read_folder
from eval.rows import Row, read_rows
from eval.suites.pictures import measure_pictures
from runtime.errors import UserError


def fill(folder: Path, count: int, shade: int = 0) -> Path:
    """Write pictures of two sizes."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(shade)
    for place in range(count):
        side = 8 if place % 3 else 12
        pixels = np.clip(generator.integers(0, 128, (side, side, 3)) + shade, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{place:03}.png")
    return folder


def manifest(folder: Path, **change: Any) -> None:
    """Make a folder look as `dit_train.sample` leaves it."""
    (folder / "images").mkdir()
    rows = []
    for path in sorted(folder.glob("*.png")):
        path.rename(folder / "images" / path.name)
        each = {"seed": 4, "sampler": "ddim", "steps": 50, "guidance": 3.0, "checkpoint_sha256": "ab" * 32}
        rows.append({"prompt_id": path.stem, "prompt": f"a {path.stem}", "number": 0, "file": path.name, **each})
    rows[0].update(change)
    (folder / "manifest.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


class Corners:
    """Four pixels of a picture as its features; a text's are its length."""

    suffix = "[corners-12345678]"
    description = "corners"
    checkpoint_sha256 = "12345678"

    def features(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        return np.array([np.asarray(picture)[range(4), range(4), 0] / 255 for picture in pictures])

    def encode_images(self, images: Sequence[Image.Image], batch_size: int = 1) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.from_numpy(self.features(images)).float() + 0.1)

    def encode_texts(self, texts: Sequence[str], batch_size: int = 1) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.tensor([[len(text), 1.0, 1.0, 1.0] for text in texts]))

    def truncated(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.zeros(len(texts), dtype=torch.bool)


def test_every_number_names_its_extractor(tmp_path: Path) -> None:
    drawn, true = fill(tmp_path / "drawn", 40, shade=9), fill(tmp_path / "true", 50)
    manifest(drawn)
    config = PicturesConfig(pictures=drawn, output_dir=tmp_path, reference=true, extractors={"corners": tmp_path})
    folders = read_folder(drawn), read_folder(true)
    found = {one.metric: one for one in measure_pictures(config, *folders, [Corners()], {"mine": Corners()})}
    tag = "[corners-12345678]"
    assert list(found) == [
        f"pictures/FD{tag}", f"pictures/FD{tag}_floor", f"pictures/KD{tag}", f"pictures/precision{tag}",
        f"pictures/recall{tag}", "pictures/clip_score[mine]",
    ]  # fmt: skip
    distance = found[f"pictures/FD{tag}"]
    assert distance.count == 40 and distance.interval.low < distance.interval.value < distance.interval.high
    assert distance.protocol == "40 pictures, ddim, 50 steps, guidance 3.0, seed 4; to 50 of true; corners"
    assert found[f"pictures/recall{tag}"].count == 50
    same = {one.metric: one.interval.value for one in measure_pictures(config, folders[1], folders[1], [Corners()], {})}
    assert same[f"pictures/FD{tag}"] == pytest.approx(0, abs=1e-9) and same[f"pictures/precision{tag}"] == 1.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published file's format, other numbers."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: None)
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = module.FeatureExtractorInceptionV3("inception", ["2048"])
    torch.save(network.state_dict(), path)
    return path


def test_only_the_registered_weights_give_an_fid(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network's first features: 64, not the 2048 whose matrix roots take seconds.
    monkeypatch.setattr(extractors, "_POOLED", "64")
    drawn, true = fill(tmp_path / "drawn", 5), fill(tmp_path / "true", 6, shade=3)
    flags = ["pictures", "--pictures", str(drawn), "--reference", str(true), "--inception", str(weights)]
    command.main([*flags, "--output_dir", str(tmp_path / "other"), "--device", "cpu"])
    rows = rows_by_metric(tmp_path / "other")
    sha8 = load_inception(weights, torch.device("cpu")).sha8
    assert f"pictures/FD[inception-{sha8}]" in rows and not [metric for metric in rows if "FID" in metric]
    # Five pictures of more features: a distance whose interval is open, and no kernel distance.
    assert rows[f"pictures/FD[inception-{sha8}]"].value > 0
    assert np.isnan(rows[f"pictures/FD[inception-{sha8}]"].low)
    assert {(row.run, row.count) for row in rows.values()} <= {("pictures/drawn", 5), ("pictures/drawn", 6)}
    monkeypatch.setattr(extractors, "INCEPTION_SHA8", sha8)
    command.main([*flags, "--output_dir", str(tmp_path / "registered"), "--device", "cpu", "--run", "dit/mine"])
    rows = rows_by_metric(tmp_path / "registered")
    assert {"pictures/FID", "pictures/KID", "pictures/precision"} <= set(rows) and rows[
        "pictures/FID"
    ].run == "dit/mine"


def rows_by_metric(folder: Path) -> dict[str, Row]:
    return {row.metric: row for row in read_rows(folder / "pictures" / "rows.jsonl")}


def test_pictures_that_are_not_all_there(tmp_path: Path) -> None:
    drawn = fill(tmp_path / "drawn", 4)
    with pytest.raises(UserError, match="another number of pictures: found 4, wanted 5"):
        read_folder(drawn, 5)
    manifest(drawn, file="lost.png")
    with pytest.raises(UserError, match=r"images/lost.png: a picture is missing"):
        read_folder(drawn)
    (drawn / "manifest.jsonl").unlink()
    (drawn / "claim").mkdir()
    (drawn / "claim" / "settings.json").write_text("{}")
    with pytest.raises(UserError, match="pictures are not all drawn: found no manifest"):
        read_folder(drawn)
    with pytest.raises(UserError, match="no folder of pictures here"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures in the folder"):
        read_folder(tmp_path / "empty")


def test_pictures_drawn_in_two_ways_are_no_set(tmp_path: Path) -> None:
    drawn = fill(tmp_path / "drawn", 4)
    manifest(drawn, guidance=5.0)
    with pytest.raises(UserError, match="pictures drawn in several ways"):
        read_folder(drawn)


def test_a_damaged_picture_and_features_that_are_no_numbers(tmp_path: Path) -> None:
    drawn = fill(tmp_path / "drawn", 4)
    config = PicturesConfig(pictures=drawn, output_dir=tmp_path, reference=drawn, extractors={"c": tmp_path})
    folder = read_folder(drawn)

    class Broken(Corners):
        def features(self, pictures: Sequence[Image.Image]) -> np.ndarray:
            return super().features(pictures) * np.nan

    with pytest.raises(UserError, match="features that are no numbers: found 4 pictures"):
        list(measure_pictures(config, folder, folder, [Broken()], {}))
    (drawn / "002.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="not a picture: found not_an_image"):
        list(measure_pictures(config, folder, folder, [Corners()], {}))
    with pytest.raises(UserError, match="no prompts to score by"):
        list(measure_pictures(config, folder, None, [], {"mine": Corners()}))


def test_nothing_to_measure(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UserError, match="nothing to measure"):
        PicturesConfig(pictures=tmp_path, output_dir=tmp_path)
    with pytest.raises(UserError, match="no extractor of features"):
        PicturesConfig(pictures=tmp_path, output_dir=tmp_path, reference=tmp_path)
    with pytest.raises(UserError, match="no weights of Inception here"):
        load_inception(tmp_path / "none.pth", torch.device("cpu"))
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not the weights of this Inception"):
        load_inception(tmp_path / "other.pth", torch.device("cpu"))
    torch.save({"fc.weight": Path("a")}, tmp_path / "pickle.pth")
    with pytest.raises(UserError, match="not the weights of this Inception: found Weights only load failed"):
        load_inception(tmp_path / "pickle.pth", torch.device("cpu"))
