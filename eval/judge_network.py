"""Two judges of pictures: small networks that see a picture of the small web's world and name what stands where.

Both are dense detectors: a map of 8 x 8 cells, each saying whether a thing's centre lies in it, where exactly, and what
the thing is. They differ in the rest, so that agreeing by accident is unlikely: A is a plain network with max pooling,
B a residual network with strided convolutions, each with its own activation; they start from other seeds and learn
from disjoint halves of the renders. A learned faster in every trial, so it gives the scores and B checks them.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from miniweb.catalogue import BACKGROUNDS, COLOURS, KINDS, SPECIES_BY_NAME
from miniweb.scene import Size

JudgeName = Literal["A", "B"]
JUDGE_NAMES: tuple[JudgeName, ...] = ("A", "B")
IMAGE_SIZE_PX = 64
MAP_CELLS = 8
SIZES: tuple[Size, ...] = ("small", "large")
HEADS: dict[str, int] = {
    "presence": 1,
    "place": 3,
    "kind": len(KINDS),
    "species": len(SPECIES_BY_NAME),
    "colour": len(COLOURS),
    "size": len(SIZES),
}
"""Outputs of each cell: presence logit; offset in x and y and the scale; logits of the rest."""

FEATURE_WIDTH = 64
"""Width of the pooled features in which Frechet distances are measured."""


class Judge(nn.Module):
    """A backbone with a head per cell and one for the background."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        hidden = 2 * FEATURE_WIDTH
        self.cell = nn.Sequential(
            nn.Conv2d(FEATURE_WIDTH, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, sum(HEADS.values()), 1)
        )
        self.background = nn.Linear(FEATURE_WIDTH, len(BACKGROUNDS))

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> dict[str, Tensor]:
        """Return a map (batch, outputs, 8, 8) per head, background logits, and the pooled features (batch, 64)."""
        trunk = self.backbone(images)
        parts = self.cell(trunk).split(list(HEADS.values()), dim=1)
        pooled = trunk.mean(dim=(2, 3))
        return {**dict(zip(HEADS, parts, strict=True)), "background": self.background(pooled), "features": pooled}


def build_judge(name: JudgeName) -> Judge:
    """Build an untrained judge."""
    return Judge(_pooling_backbone() if name == "A" else _residual_backbone())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.body(x))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs))


def _residual_backbone() -> nn.Module:
    return nn.Sequential(
        _conv(3, 32, stride=2),
        nn.ReLU(),
        _conv(32, 48, stride=2),
        nn.ReLU(),
        _Residual(48),
        _conv(48, FEATURE_WIDTH, stride=2),
        nn.ReLU(),
        _Residual(FEATURE_WIDTH),
        _Residual(FEATURE_WIDTH),
    )


def _pooling_backbone() -> nn.Module:
    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.GELU()]

    return nn.Sequential(
        nn.Conv2d(3, 32, 5, stride=2, padding=2),
        nn.BatchNorm2d(32),
        nn.GELU(),
        nn.MaxPool2d(2),
        *stage(32, 64),
        *stage(64, 64),
        nn.MaxPool2d(2),
        *stage(64, 96),
        *stage(96, FEATURE_WIDTH),
    )
