"""Recaptioning: our vLLM captioner, from tar to parquet, beside vLLM's own offline generate over the same tars."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import vllm_race
from benchmarks.race import Bar, bars_table, table
from benchmarks.recaption import published_captioner
from benchmarks.recaption_shards import write_shards

ABOUT = """\
Greedy captions of drawn pictures under the paper's prompt, in float32, by vLLM on a CPU, in its own environment. Ours
goes from tar to parquet: a worker of `recaption run` reads, decodes, captions, checks and writes, with the mean
log-probability of each caption. vLLM's own is `LLM.generate`, as its documentation calls it, from the same tars'
pictures to texts in memory, without log-probabilities. Both engines have the same settings, vLLM's own where it has
any, and no caches of pictures and prompts, since a turn repeats the pictures of the one before. Both are started, and
have answered once, before the clock runs.

vLLM computes in one thread here. Its own way is three processes on this machine's two cores: one that prepares
pictures and reads answers, one that schedules and one that computes, of which the second waits for the third in a busy
loop. Ours is two: the last two are one, and the first decodes pictures, checks captions and writes as well. A picture
that is already the square which the model sees does not go through vLLM's processor, and an answer leaves the engine
once it is whole (`docs/captioners.md`). Seconds of a core are those of all processes, busy loops included."""

_SIDE_PX = 96
"""Longer side of the pictures, the miniature web's."""
_BARS = (Bar(faster=vllm_race.OURS, slower=vllm_race.THEIRS, least=1.0),)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is captioned."""

    captioner: Path | None = None
    """Published captioner; none: that of runs/mini where it was trained here, else an untrained one."""
    vllm: Path | None = vllm_race.PYTHON
    """Python of the environment with vLLM; none measures nothing."""
    num_pictures: int = 1024
    """Two shards, so that what a job does once weighs little, and the engine is seen not to drain between them."""
    max_new_tokens: int = 128
    """The paper's limit."""


SIZES = {"full": Size(), "tiny": Size(vllm=None, num_pictures=4, max_new_tokens=4)}


def measure(size: Size, repeats: int) -> str:
    """Return the table of both ways, with the share of equal texts; in words why there is none without vLLM."""
    if size.vllm is None or not size.vllm.exists():
        return "Not measured: no environment with vLLM here (`make setup-vllm` makes it)."
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder / "shards", size.num_pictures, _SIDE_PX)
        model, what = published_captioner(size.captioner, folder, trained=True)
        try:
            results, words = vllm_race.measure_apart(
                size.vllm,
                model,
                folder / "shards",
                num_pictures=size.num_pictures,
                max_new_tokens=size.max_new_tokens,
                repeats=repeats,
            )
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return f"Not measured: {error}"
    return (
        f"{what}; {size.num_pictures} pictures.\n\n"
        f"{table(results, unit='captions')}\n\n{bars_table(results, _BARS)}\n\n"
        f"Equal texts from {vllm_race.THEIRS} and from ours: {words['equal']}. "
        f"Versions there: {words['versions']}."
    )
