"""Checkpoints are whole or absent, whatever moment the process dies at."""

import json
import multiprocessing
import os
import resource
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from runtime import checkpoints
from runtime.errors import UserError
from tests.runtime.toys import ToyModel

KILLED = 9


def save(folder: Path, update: int, keep_last: int = 1) -> checkpoints.Checkpoint:
    torch.manual_seed(update)
    return checkpoints.save(
        folder,
        update=update,
        weights=weights_of(ToyModel()),
        training_state={"update": update},
        data_fingerprint="toy",
        keep_last=keep_last,
    )


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in checkpoints.tied_once(model).items()}


def load_into(model: torch.nn.Module, checkpoint: checkpoints.Checkpoint) -> None:
    checkpoints.load_weights(checkpoint.folder / "model.safetensors", model)


def assert_loadable(folder: Path) -> int:
    """Load the latest checkpoint and return its update, having checked that it is that update's model."""
    checkpoint, model = checkpoints.latest(folder), ToyModel()
    load_into(model, checkpoint)
    state = checkpoints.load_state(checkpoint, 0)
    torch.manual_seed(checkpoint.update)
    torch.testing.assert_close(dict(model.state_dict()), dict(ToyModel().state_dict()), rtol=0, atol=0)
    assert state == {"update": checkpoint.update}
    return checkpoint.update


WRITE_POINTS = {
    "rename": (os, "replace"),
    "sync": (os, "fsync"),
    "weights": (checkpoints, "save_file"),
    "state": (torch, "save"),
    "manifest": (Path, "write_text"),
    "delete a file": (os, "unlink"),
    "delete a folder": (os, "rmdir"),
}


def save_and_die(folder: Path, module, name: str, moment: int, before: bool) -> None:
    real, calls = getattr(module, name), []

    def dying(*args, **kwargs):
        calls.append(name)
        if before and len(calls) == moment:
            os._exit(KILLED)
        result = real(*args, **kwargs)
        if len(calls) == moment:
            os._exit(KILLED)
        return result

    setattr(module, name, dying)
    save(folder, 200)
    os._exit(0)


@pytest.mark.parametrize("point", WRITE_POINTS)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_any_write_leaves_a_loadable_checkpoint(point, before, tmp_path):
    module, name = WRITE_POINTS[point]
    save(tmp_path / "first", 100)
    deaths = 0
    for moment in range(1, 50):
        folder = tmp_path / f"{moment}"
        shutil.copytree(tmp_path / "first", folder)
        process = multiprocessing.get_context("fork").Process(
            target=save_and_die, args=(folder, module, name, moment, before)
        )
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == KILLED
        deaths += 1
        update = assert_loadable(folder)
        assert update in (100, 200)
        # And the next start goes on as if nothing had happened.
        save(folder, 300)
        assert assert_loadable(folder) == 300
        assert [path.name for path in folder.iterdir()] == ["step-0000300"]
    assert process.exitcode == 0 and deaths >= 1


def test_only_the_last_checkpoints_stay(tmp_path):
    for update in (5, 10, 15, 1000):
        save(tmp_path, update, keep_last=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000015", "step-0001000"]
    assert assert_loadable(tmp_path) == 1000


def test_half_written_and_damaged_checkpoints_are_passed_over(tmp_path):
    for update in (1, 2, 3, 4):
        save(tmp_path, update, keep_last=9)
    (tmp_path / "step-0000004" / "manifest.json").unlink()
    with (tmp_path / "step-0000003" / "model.safetensors").open("ab") as file:
        file.truncate(100)
    (tmp_path / "step-0000002" / "manifest.json").write_text('{"update": 2, "fi')
    shutil.copytree(tmp_path / "step-0000001", tmp_path / "step-0000009.partial-77")
    assert assert_loadable(tmp_path) == 1


def test_no_folder_no_checkpoint(tmp_path):
    assert checkpoints.latest(tmp_path / "absent") is None


def test_manifest_says_what_was_saved(tmp_path):
    checkpoint = save(tmp_path, 7)
    manifest = json.loads((checkpoint.folder / "manifest.json").read_text())
    assert manifest["update"] == 7 and manifest["data_fingerprint"] == "toy"
    assert manifest["files"]["model.safetensors"]["sha256"] == checkpoint.model_sha256
    assert set(safetensors.torch.load_file(checkpoint.folder / "model.safetensors")) == set(ToyModel().state_dict())


def save_plain(folder: Path, model: torch.nn.Module) -> checkpoints.Checkpoint:
    return checkpoints.save(
        folder, update=1, weights=weights_of(model), training_state={}, data_fingerprint="x", keep_last=1
    )


def test_tied_weights_are_stored_once_and_come_back_tied(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight

    model = Tied()
    saved = save_plain(tmp_path, model)
    other = Tied()
    load_into(other, saved)
    assert torch.equal(other.embedding.weight, model.embedding.weight)
    assert other.head.weight is other.embedding.weight


def wider() -> ToyModel:
    model = ToyModel()
    model.head = torch.nn.Linear(16, 7)
    return model


def longer() -> ToyModel:
    model = ToyModel()
    model.extra = torch.nn.Linear(2, 2)
    return model


def shorter() -> ToyModel:
    model = ToyModel()
    del model.head
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            wider,
            r"model.safetensors: tensor 'head.weight' has another shape: found \[6, 16\], wanted \[7, 16\]. The check",
        ),
        (
            longer,
            r"model.safetensors: no tensor 'extra.weight' in the checkpoint: wanted \[2, 2\]. The checkpoint belongs",
        ),
        (shorter, r"model.safetensors: the model has no tensor 'head.bias': found \[6\]. The checkpoint belongs"),
    ],
)
def test_a_model_of_another_shape_is_refused_by_tensor(model, message, tmp_path):
    saved = save(tmp_path, 1)
    with pytest.raises(UserError, match=message):
        load_into(model(), saved)


def test_a_run_that_went_back_behind_a_damaged_checkpoint_keeps_its_new_ones(tmp_path):
    save(tmp_path, 300)
    shutil.copytree(tmp_path / "step-0000300", tmp_path / "step-0000400")
    (tmp_path / "step-0000400" / "training_state.pt").write_bytes(b"")
    assert assert_loadable(tmp_path) == 300
    save(tmp_path, 350)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000350"]


def save_on_a_small_disk(folder: Path, limit_bytes: int, answer) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    state = {"optimizer": torch.zeros(1000)}
    try:
        checkpoints.save(
            folder,
            update=200,
            weights=weights_of(ToyModel()),
            training_state=state,
            data_fingerprint="toy",
            keep_last=1,
        )
    except OSError as error:
        answer.put(str(error))


@pytest.mark.parametrize(
    ("limit_bytes", "reason"),
    [
        (500, "File too large"),
        (2000, "step-0000200: the disk took only part of it; is it full"),
    ],
)
def test_a_disk_that_fills_up_is_an_os_error_and_leaves_the_last_checkpoint(limit_bytes, reason, tmp_path):
    save(tmp_path, 100)
    assert 500 < (tmp_path / "step-0000100" / "model.safetensors").stat().st_size < 2000
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    process = context.Process(target=save_on_a_small_disk, args=(tmp_path, limit_bytes, answer))
    process.start()
    process.join()
    assert reason in answer.get()
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000100"]
    assert assert_loadable(tmp_path) == 100


def test_weights_in_another_memory_layout_are_saved_too(tmp_path):
    model = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    saved = save_plain(tmp_path, model)
    other = torch.nn.Conv2d(3, 4, 3)
    load_into(other, saved)
    assert torch.equal(other.weight, model.weight) and not model.weight.is_contiguous()


def add_two_parts(folder: Path) -> int:
    for rank in (0, 1):
        torch.save({"moment": torch.full((3,), float(rank))}, folder / checkpoints.part_file(rank, 2))
    return 2


def test_each_rank_reads_its_own_part_and_a_checkpoint_without_one_is_damaged(tmp_path):
    save(tmp_path, 100, keep_last=2)
    shared = checkpoints.save(
        tmp_path,
        update=200,
        weights=weights_of(ToyModel()),
        training_state={"update": 200},
        data_fingerprint="toy",
        keep_last=2,
        add_parts=add_two_parts,
    )
    assert shared.num_parts == 2 and checkpoints.latest(tmp_path) == shared
    for rank in (0, 1):
        state = checkpoints.load_state(shared, rank)
        assert state["update"] == 200 and state["optimizer"]["moment"].tolist() == [float(rank)] * 3
    (shared.folder / "optimizer-1-of-2.pt").unlink()
    assert checkpoints.latest(tmp_path).update == 100


def test_a_rank_that_fails_to_write_its_part_leaves_no_checkpoint(tmp_path):
    def fail(folder: Path) -> int:
        add_two_parts(folder)
        raise OSError("disk full")

    save(tmp_path, 100)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(
            tmp_path, update=200, weights={}, training_state={}, data_fingerprint="toy", keep_last=1, add_parts=fail
        )
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000100"]


def test_a_weight_takes_over_the_type_it_was_saved_in(tmp_path):
    """Trained in float32 and saved, it is not rounded on its way into a model that was published in bfloat16."""
    model = ToyModel()
    saved = save_plain(tmp_path, model)
    narrow = ToyModel().bfloat16()
    load_into(narrow, saved)
    torch.testing.assert_close(dict(narrow.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


def test_what_is_equal_already_is_not_written(tmp_path):
    """Where it lies is then still the file that all processes of a machine share."""
    torch.manual_seed(1)
    published, changed = tmp_path / "published.safetensors", ToyModel()
    safetensors.torch.save_file(weights_of(changed), published)
    model = ToyModel()
    mapped = safetensors.torch.load_file(published)
    for name, parameter in model.named_parameters():
        parameter.data = mapped[name]
    with torch.no_grad():
        changed.head.bias += 1
    before = {name: (tensor.data_ptr(), tensor._version) for name, tensor in model.state_dict().items()}
    load_into(model, save_plain(tmp_path, changed))
    after = {name: (tensor.data_ptr(), tensor._version) for name, tensor in model.state_dict().items()}
    assert {name for name in before if before[name] != after[name]} == {"head.bias"}
    torch.testing.assert_close(dict(model.state_dict()), dict(changed.state_dict()), rtol=0, atol=0)
