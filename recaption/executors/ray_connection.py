"""The way to a Ray cluster: one that is up, or one of this machine for as long as a job takes."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from recaption.config import RecaptionConfig
from runtime.errors import UserError

OBJECT_STORE_BYTES = 80 << 20
"""Ray's own smallest: nothing but names and counts goes through it."""
HEAD_SECONDS = 10.0
"""Time for a head to answer a greeting."""


@contextmanager
def connected(config: RecaptionConfig) -> Iterator[None]:
    """Join the cluster that is named, or start one of this machine for as long as the job takes.

    Raises UserError where there is no such cluster.
    """
    place: dict[str, Any] = {"address": config.ray.address}
    if config.ray.address is None:
        num_cpus = config.workers * config.ray.cpus_per_captioner
        small = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        # Without an address Ray would join the cluster that the environment names.
        place = {"address": "local", "num_cpus": num_cpus, **small}
    elif config.ray.address != "auto":
        _greet(config.ray.address)
    try:
        ray.init(**place, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise _no_cluster(config.ray.address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _greet(address: str) -> None:
    """Raise UserError where nobody listens: Ray itself would go on trying for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=HEAD_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: OSError) -> UserError:
    fix = "Start it by `ray start --head`, or leave ray.address out for a cluster of this machine alone"
    return UserError("no Ray cluster answers", where="ray.address", found=f"{address} ({error})", fix=fix)
