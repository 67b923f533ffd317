"""Two processes that share out the transformer's weights train what one process trains."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ARGUMENTS = [
    "--loop.num_updates=4", "--loop.batch_size=6", "--loop.microbatch_size=3", "--loop.learning_rate=1e-3",
    "--loop.ema_decay=0.5", "--loop.checkpoint_every_updates=2", "--loop.device=cpu", "--loop.wandb=off",
    "--loop.log_every_updates=1", "--mix.original_share=0.5", "--image_size_px=48", "--qk_norm=true",
    "--zero_init_text_out=false",
]  # fmt: skip


def run(web: Path, text_encoder_folder: Path, output_dir: Path, *, ranks: int, extra: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = (
        ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}", f"--master-port={port}"] if ranks > 1 else []
    )
    data = [f"--data.shards={web}/shards", f"--data.sidecars.recaption={web}/recaptions"]
    given = [*data, f"--text_encoder={text_encoder_folder}", f"--output_dir={output_dir}"]
    command = [sys.executable, *launcher, "-m", "dit_train", *given, *ARGUMENTS, *extra]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("form", ["adaln_zero", "adaln_single"])
def test_fsdp_on_two_ranks_equals_one(web: Path, text_encoder_folder: Path, tmp_path: Path, form: str) -> None:
    run(web, text_encoder_folder, tmp_path / "one", ranks=1, extra=[f"--form={form}"])
    run(web, text_encoder_folder, tmp_path / "two", ranks=2, extra=[f"--form={form}", "--loop.sharding=fsdp2"])
    one, two = (
        load_file(tmp_path / name / "export" / "transformer" / "diffusion_pytorch_model.safetensors")
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, weight in one.items():
        # Gradients are summed in another order, which AdamW's first steps enlarge where they are nearly zero.
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-5)
