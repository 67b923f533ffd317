"""DeepSpeed's file and the loop's config say each thing once."""

import json
from pathlib import Path

import pytest

from runtime import deepspeed_settings
from runtime.deepspeed_settings import read_settings
from runtime.errors import UserError
from tests.runtime.toys import loop_config

ZERO2 = {"sharding": "zero2", "ema_decay": None}


def written(folder: Path, **settings: object) -> Path:
    file = folder / "settings.json"
    file.write_text(json.dumps({"zero_optimization": {}, **settings}))
    return file


@pytest.mark.parametrize(("sharding", "stage"), [("zero2", 2), ("zero3", 3)])
def test_packaged_settings_are_filled_in(sharding, stage):
    config = loop_config(
        sharding=sharding, ema_decay=None, batch_size=64, microbatch_size=4, precision="bf16", frozen_weights="bf16"
    )
    settings = read_settings(config, world_size=8)
    assert settings["zero_optimization"]["stage"] == stage
    assert settings["train_batch_size"] == 64
    assert settings["train_micro_batch_size_per_gpu"] == 4
    assert settings["gradient_accumulation_steps"] == 2
    assert settings["gradient_clipping"] == 1.0
    assert settings["bf16"] == {"enabled": True, "check_grad_overflow": True}
    # Gradients are summed in float32 whatever the precision of the pass.
    assert settings["communication_data_type"] == settings["data_types"]["grad_accum_dtype"] == "fp32"


def test_a_whole_share_is_one_microbatch_and_no_clipping_is_zero(tmp_path):
    config = loop_config(**ZERO2, max_grad_norm=None, deepspeed_config=written(tmp_path, train_batch_size="auto"))
    settings = read_settings(config, world_size=2)
    assert settings["train_batch_size"] == 8
    assert settings["train_micro_batch_size_per_gpu"] == 4
    assert settings["gradient_accumulation_steps"] == 1
    assert settings["gradient_clipping"] == 0.0
    assert settings["bf16"] == {"enabled": False}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_batch_size": 16}, "train_batch_size contradicts the loop's config: found 16, wanted 8. Leave train_b"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage contradicts the loop's config: found 3, wanted"),
        ({"bf16": {"enabled": True}}, "bf16.enabled contradicts the loop's config: found True, wanted False"),
        ({"gradient_clipping": 0.5}, "gradient_clipping contradicts the loop's config: found 0.5, wanted 1.0"),
        ({"optimizer": {"type": "Adam"}}, "'optimizer' belongs elsewhere: found optimizer, wanted learning_rate, b"),
        ({"fp16": {"enabled": True}}, "'fp16' belongs elsewhere: found fp16, wanted precision of the loop"),
        (
            {"zero_optimization": {"reduce_bucket_size": "auto"}},
            "nothing fills in 'zero_optimization.reduce_bucket_size': found auto, wanted a value, or no such field",
        ),
    ],
)
def test_what_the_loop_says_is_not_said_again_otherwise(settings, message, tmp_path):
    file = written(tmp_path, **settings)
    with pytest.raises(UserError) as refusal:
        read_settings(loop_config(**ZERO2, deepspeed_config=file), world_size=1)
    assert str(refusal.value).startswith(f"{file}: {message}")


def test_a_file_of_something_else_is_named(tmp_path):
    file = tmp_path / "other.json"
    file.write_text("{}")
    with pytest.raises(UserError, match=r"other.json: file has no key 'zero_optimization'"):
        read_settings(loop_config(**ZERO2, deepspeed_config=file), world_size=1)


def test_packaged_settings_say_nothing_that_the_loop_says():
    files = sorted(deepspeed_settings.FOLDER.glob("*.json"))
    assert [file.name for file in files] == ["zero2.json", "zero3.json"]
    for file in files:
        assert set(json.loads(file.read_text())) == {"zero_optimization", "communication_data_type", "data_types"}
