"""What `python -m recaption compare` is told."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from recaption.audit.config import JudgeConfig
from recaption.input_config import MovedInput
from runtime.device_name import DeviceName
from runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Set captioners side by side: claims, lengths, flags, repeats and pace, on the same pictures, in one page."""

    captioners: list[str]
    """Two or more, each the folder of a run or an import whose captions are taken, or a YAML file of settings for
    `run` (with its model) that is run on the pictures drawn; NAME=PLACE names one. The flag may be left out."""
    output_dir: Path
    """Folder for the page, the pictures drawn and the captions made."""
    input: MovedInput = field(default_factory=MovedInput)
    """Where pictures are drawn from; left out, the input of the first captioner."""
    num_images: int = 256
    """Pictures drawn."""
    seed: int = 0
    """What draws pictures."""
    column: str = "re_caption"
    """Sidecar column that captions are taken from, where a captioner has it; else re_caption."""
    claims: Literal["none", "scenes", "judge"] = "none"
    """How claims are audited: exactly by miniweb's scene graphs, by a vision model, or not."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    dollars_max: float | None = None
    """Refuse to ask the judge when the estimate is above."""
    scorers: dict[str, Path] = field(default_factory=dict)
    """open_clip directories to score captions with, by the name to print."""
    device: DeviceName = "auto"
    """Where scorers run."""
    num_shown: int = 16
    """Pictures on the page, with everyone's captions."""

    def __post_init__(self) -> None:
        if len(self.captioners) < 2:
            found, wanted = len(self.captioners), "two or more folders or YAML files"
            raise UserError("too few to compare", where="captioners", found=found, wanted=wanted)
        name, count = Counter(name_of(captioner) for captioner in self.captioners).most_common(1)[0]
        if count > 1:
            fix = "Name them: NAME=PLACE"
            raise UserError("captioners of one name", where="captioners", found=name, wanted="each its own", fix=fix)
        if self.num_images < 2:
            raise UserError("out of range", where="num_images", found=self.num_images, wanted=">= 2")


def name_of(captioner: str) -> str:
    """Return the name under which a captioner is shown."""
    name, mark, _ = captioner.partition("=")
    return name if mark else Path(captioner).stem


def place_of(captioner: str) -> Path:
    """Return the folder or file of a captioner."""
    _, mark, place = captioner.partition("=")
    return Path(place if mark else captioner)
