"""Metrics to wandb: offline files, off, and without the package."""

import importlib.util

from PIL import Image

from runtime.wandb_writer import WandbWriter


def test_offline_runs_leave_files_to_sync(tmp_path):
    writer = WandbWriter("offline", tmp_path, {"width": 3}, "a" * 64)
    writer.write({"update": 4, "loss": 0.5}, 4)
    writer.close()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))


def test_off_means_nothing_happens(tmp_path):
    writer = WandbWriter("off", tmp_path, {}, "a" * 64)
    writer.write({"update": 4}, 4)
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_offline_is_silent_and_online_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    WandbWriter("offline", tmp_path, {}, "a" * 64).write({"update": 4}, 4)
    assert capsys.readouterr().err == ""
    WandbWriter("online", tmp_path, {}, "a" * 64)
    assert capsys.readouterr().err == "wandb is not installed: metrics go to metrics.jsonl alone\n"
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_kept_with_an_offline_run(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "sheet.png")
    writer = WandbWriter("offline", tmp_path, {}, "a" * 64)
    writer.show({"preview": tmp_path / "sheet.png"}, 4)
    writer.close()
    (kept,) = (tmp_path / "wandb").glob("offline-run-*/files/media/images/preview_*.png")
    assert kept.read_bytes()[:4] == b"\x89PNG"
