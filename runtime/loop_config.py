"""What a user may choose about a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long, how fast, in what precision and on what to train. Light to import: no torch."""

    num_updates: int
    """Optimizer steps in the whole run."""
    batch_size: int
    """Samples per update, over all ranks and microbatches."""
    microbatch_size: int | None = None
    """Samples per forward pass on one rank; unset means the rank's whole share. The gradient is that of the whole
    batch whatever it is; noise and dropout, where there are any, are drawn per microbatch.
    """
    learning_rate: float
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Course of the learning rate after warm-up: constant, or a half cosine down to zero at the last update."""
    warmup_updates: int = 0
    """Updates over which the learning rate rises linearly from zero."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay; never applied to biases, norms and other tensors with fewer than two axes."""
    beta1: float = 0.9
    """AdamW's decay of the gradient's first moment."""
    beta2: float = 0.999
    """AdamW's decay of the gradient's second moment."""
    epsilon: float = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: float | None = 1.0
    """Gradients with a larger global norm are scaled down to it; null leaves them alone."""
    max_loss: float | None = None
    """Loss above which an update is refused like one whose loss is not finite; null sets no limit."""
    max_loss_ratio: float | None = None
    """Multiple of the loss that was usual in the last twenty updates or so, above which an update is refused too; null
    sets no limit.
    """
    max_refused_updates: int = 0
    """Updates that a run goes on without, because loss or gradient is not finite or the loss above a limit; at the
    next one it stops. refused_updates.jsonl names their samples.
    """
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the forward and backward pass; weights, losses, EMA and optimizer state are float32 in both."""
    sharding: Literal["none", "zero2", "zero3", "fsdp2"] = "none"
    """What ranks share out instead of each holding it whole: zero2 (DeepSpeed) gradients and optimizer state, zero3
    (DeepSpeed) and fsdp2 (PyTorch) the weights too. Needs a start by torchrun.
    """
    deepspeed_config: Path | None = None
    """JSON file of DeepSpeed's own settings for zero2 and zero3; null takes the one in configs/deepspeed. Batch sizes,
    clipping and precision are filled in from here.
    """
    frozen_weights: Literal["fp32", "bf16"] = "fp32"
    """How weights that do not train are stored; bf16 halves their memory and rounds them, and needs that precision."""
    ema_decay: float | None = None
    """Decay per update of an exponential moving average of the weights; null keeps none."""
    checkpoint_every_updates: int = 500
    """Updates between two checkpoints; the last update always saves one."""
    keep_last: int = 1
    """How many checkpoints stay on disk."""
    log_every_updates: int = 20
    """Updates that one line of metrics averages over."""
    threads: int = 1
    """Threads of torch on CPU; fixed here, never by the machine, so that results do not depend on it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU when there is one."""
    deterministic: bool = False
    """On a GPU, use only kernels that give the same bits every time; a CPU always does."""
    wandb: Literal["off", "offline", "online"] = "offline"
    """Weights & Biases: offline writes into the run folder; off without the package."""

    def __post_init__(self) -> None:
        positive = {
            "num_updates": self.num_updates,
            "batch_size": self.batch_size,
            "checkpoint_every_updates": self.checkpoint_every_updates,
            "keep_last": self.keep_last,
            "log_every_updates": self.log_every_updates,
            "threads": self.threads,
        }
        for name, found in positive.items():
            _require(name, found, found >= 1, "1 or more")
        _require("learning_rate", self.learning_rate, self.learning_rate > 0, "more than 0")
        within = 0 <= self.warmup_updates <= self.num_updates
        _require("warmup_updates", self.warmup_updates, within, f"0 to num_updates {self.num_updates}")
        _require("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        _require("beta1", self.beta1, 0 <= self.beta1 < 1, "at least 0 and below 1")
        _require("beta2", self.beta2, 0 <= self.beta2 < 1, "at least 0 and below 1")
        _require("epsilon", self.epsilon, self.epsilon > 0, "more than 0")
        if self.max_grad_norm is not None:
            _require("max_grad_norm", self.max_grad_norm, self.max_grad_norm > 0, "more than 0, or null")
        if self.max_loss is not None:
            _require("max_loss", self.max_loss, self.max_loss > 0, "more than 0, or null")
        if self.max_loss_ratio is not None:
            _require("max_loss_ratio", self.max_loss_ratio, self.max_loss_ratio > 1, "more than 1, or null")
        _require("max_refused_updates", self.max_refused_updates, self.max_refused_updates >= 0, "0 or more")
        if self.ema_decay is not None:
            _require("ema_decay", self.ema_decay, 0 < self.ema_decay < 1, "between 0 and 1, or null")
        if self.microbatch_size is not None:
            divides = self.microbatch_size >= 1 and self.batch_size % self.microbatch_size == 0
            _require("microbatch_size", self.microbatch_size, divides, f"a divisor of batch_size {self.batch_size}")
        self._check_storage()

    def _check_storage(self) -> None:
        """Refuse fields about how weights are held that contradict each other."""
        is_deepspeed = self.sharding in ("zero2", "zero3")
        if self.ema_decay is not None and is_deepspeed:
            wanted = "null, or sharding none or fsdp2"
            _refuse("DeepSpeed hides the weights that an average is kept of", "ema_decay", self.ema_decay, wanted)
        if self.deepspeed_config is not None and not is_deepspeed:
            wanted = f"null under sharding {self.sharding}, or zero2 or zero3"
            _refuse("nobody would read it", "deepspeed_config", str(self.deepspeed_config), wanted)
        if self.frozen_weights == "bf16" and self.precision == "fp32":
            _refuse(
                "frozen weights of a lower precision than the others", "frozen_weights", "bf16", "fp32, as precision"
            )
        if is_deepspeed and self.precision == "bf16" and self.frozen_weights == "fp32":
            wanted = "bf16: under DeepSpeed all weights that compute are stored in bf16, those trained beside fp32 ones"
            _refuse("DeepSpeed can't keep them so", "frozen_weights", "fp32", wanted)


def _require(name: str, found: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise UserError("out of range", where=name, found=found, wanted=wanted)


def _refuse(what: str, name: str, found: object, wanted: str) -> NoReturn:
    raise UserError(what, where=name, found=found, wanted=wanted)
