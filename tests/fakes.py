"""Stand-ins and launchers that several packages' tests share."""

import multiprocessing
import os
import socket
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def run_distributed(fn: Callable[..., Any], world_size: int = 2, *args: Any) -> list[Any]:
    """Call `fn(rank, *args)` in `world_size` forked processes joined by gloo; return what each rank returned."""
    port = _free_port()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{rank}.pt" for rank in range(world_size)]
        processes = [
            context.Process(target=_worker, args=(fn, rank, world_size, port, files[rank], args))
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        results = [torch.load(file, weights_only=False) for file in files]
    failures = [text for ok, text in results if not ok]
    if failures:
        raise AssertionError("\n".join(failures))
    return [value for _, value in results]


def _worker(fn: Callable[..., Any], rank: int, world_size: int, port: int, file: Path, args: tuple[Any, ...]) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    try:
        torch.save((True, fn(rank, *args)), file)
    except BaseException:  # noqa: BLE001 (the parent re-raises it with its rank)
        torch.save((False, f"rank {rank}:\n{traceback.format_exc()}"), file)
    finally:
        torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
