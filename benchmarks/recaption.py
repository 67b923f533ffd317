"""Recaptioning: a worker of ours beside transformers' generate, image by image and in batches of arrival."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import mid_captioner
from benchmarks.race import Bar, Contender, Result, bars_table, race, table, timed
from benchmarks.recaption_shards import write_shards
from benchmarks.recaption_ways import Generate, Worker, equal_share, pictures
from benchmarks.tiny_captioner import write_captioner

ABOUT = """\
Greedy captions of one shard of drawn pictures under the paper's prompt, in float32 on one core. Ours goes from tar to
parquet: a worker of `recaption run` reads, decodes, captions and writes; `deterministic` in batches fixed by the places
of rows, `as rows come` in batches that owe nothing to places. The other ways use what transformers offers,
`AutoProcessor` and then `model.generate` with the library's default attention, from the same tar's pictures to texts in
memory: one picture at a time, as LLaVA's evaluation scripts do (the first few pictures of the shard), or in batches in
order of arrival, which run until their longest answer ends. All have their model loaded before the clock runs, and what
a worker asks once before its job, whether its captioner sees at all, is left out. vLLM has a page of its own
(`docs/benchmarks/recaption_vllm.md`).

The captioner of middle size has random weights but for its output layer, which is solved for so that it says about each
picture as many tokens as the first captioner did: every way runs the same published directory, none is told when to
stop."""

TRAINED = Path("runs/mini/captioner/main/export")
"""The captioner of the miniature web, where it was trained here."""

_BATCH_SIZE = 32
"""Pictures a batch of `generate`."""
_OUR_BATCH_SIZE = 64
"""Our default."""
_SIDE_PX = 96
"""Longer side of the pictures, the miniature web's."""
_MID_REPEATS_MAX = 2
"""A turn of the captioner of middle size takes a minute."""
_SINGLE, _BATCHES = "generate, single images", f"generate, batches of {_BATCH_SIZE}"
_DETERMINISTIC, _AS_ROWS_COME = "recaption, deterministic", "recaption, as rows come"
_MINI_BARS = tuple(Bar(faster=way, slower=_SINGLE, least=5.0) for way in (_DETERMINISTIC, _AS_ROWS_COME)) + tuple(
    Bar(faster=way, slower=_BATCHES, least=1.5) for way in (_DETERMINISTIC, _AS_ROWS_COME)
)
_MID_BARS = tuple(Bar(faster=way, slower=_BATCHES, least=1.2) for way in (_DETERMINISTIC, _AS_ROWS_COME))


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is captioned."""

    captioner: Path | None = None
    """Published captioner to begin with; none: that of runs/mini where it was trained here, else an untrained one."""
    num_pictures: int = 256
    num_single: int = 16
    """Pictures captioned one at a time."""
    num_mid: int = 64
    """Pictures captioned by the captioner of middle size."""
    num_mid_single: int = 2
    mid: mid_captioner.Shape = mid_captioner.MID
    max_new_tokens: int = 128
    """The paper's limit."""


SIZES = {
    "full": Size(),
    "tiny": Size(num_pictures=4, num_single=2, num_mid=3, num_mid_single=1, mid=mid_captioner.TINY, max_new_tokens=4),
}


def measure(size: Size, repeats: int) -> str:
    """Return the tables of captions in each way, with the share of equal texts."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder / "shards", size.num_pictures, _SIDE_PX)
        write_shards(folder / "mid_shards", size.num_mid, _SIDE_PX)
        model, what = published_captioner(size.captioner, folder, trained=size.num_pictures > _BATCH_SIZE)
        field = _Field(model, folder / "shards", size.num_pictures, size.num_single, size.max_new_tokens)
        first = field.measure(repeats)
        mid = _mid_captioner(size, folder, first.lengths[: size.num_mid])
        mid_field = _Field(mid, folder / "mid_shards", size.num_mid, size.num_mid_single, size.max_new_tokens)
        second = mid_field.measure(min(repeats, _MID_REPEATS_MAX), warm_up=False)
    return "\n\n".join(
        [
            f"## {what}",
            first.told(_MINI_BARS),
            "## A captioner of about 100 million parameters, the same lengths",
            second.told(_MID_BARS),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What a captioner's ways came to."""

    results: list[Result]
    equal: dict[str, str]
    lengths: list[int]

    def told(self, bars: Sequence[Bar]) -> str:
        """Return it in words and tables."""
        quarters = [round(value) for value in statistics.quantiles(self.lengths, method="inclusive")]
        return (
            f"{len(self.lengths)} pictures. Lengths of the answers: a quarter up to {quarters[0]}, half up to "
            f"{quarters[1]}, three quarters up to {quarters[2]} tokens, the longest {max(self.lengths)}.\n\n"
            f"{table(self.results, unit='captions')}\n\n{bars_table(self.results, bars)}\n\n"
            + "\n".join(f"Equal texts from `{_BATCHES}` and from {way}: {share}." for way, share in self.equal.items())
        )


class _Field:
    """One captioner, its shard, and all the ways to caption it in this environment."""

    def __init__(self, model: Path, shards: Path, num_pictures: int, num_single: int, max_new_tokens: int):
        self.shards = shards
        self._num_pictures = num_pictures
        self._theirs: list[str] = []
        self._plain = Generate(model, max_new_tokens)
        fields = {"max_new_tokens": max_new_tokens, "batch_size": _OUR_BATCH_SIZE}
        self._ours = {
            name: Worker(model, shards, shards.with_name(f"{shards.name}_{kept}"), **fields, deterministic=kept)
            for name, kept in ((_DETERMINISTIC, True), (_AS_ROWS_COME, False))
        }
        self._contenders = [
            _contender(_SINGLE, lambda: self._plain.caption(pictures(shards, num_single), 1), num_single),
            _contender(_BATCHES, self._in_batches, num_pictures),
            *(_contender(name, worker.run, num_pictures) for name, worker in self._ours.items()),
        ]

    def measure(self, repeats: int, *, warm_up: bool = True) -> _Measured:
        """Race all ways, and compare what they said."""
        results = race(self._contenders, repeats=repeats, warm_up=warm_up)
        return _Measured(
            results=results,
            equal={name: equal_share(worker.captions(), self._theirs) for name, worker in self._ours.items()},
            lengths=self._ours[_DETERMINISTIC].lengths(),
        )

    def _in_batches(self) -> None:
        self._theirs = self._plain.caption(pictures(self.shards, self._num_pictures), _BATCH_SIZE)


def _contender(name: str, work: Callable[[], object], num_pictures: int) -> Contender:
    return Contender(name=name, seconds=partial(timed, work), num_items=num_pictures)


def published_captioner(given: Path | None, folder: Path, *, trained: bool) -> tuple[Path, str]:
    """Return the published directory to begin with, and what it is; an untrained one is made in a folder."""
    if given is not None:
        return given, f"The captioner in `{given.name}`, as given"
    if TRAINED.is_dir() and trained:
        return TRAINED, f"The captioner in `{TRAINED}`"
    return write_captioner(folder / "model"), "An untrained captioner whose answers end at many lengths"


def _mid_captioner(size: Size, folder: Path, lengths: Sequence[int]) -> Path:
    prepare = mid_captioner.geometry(size.mid).prepare
    pixels = [prepare(image) for image in pictures(folder / "mid_shards", size.num_mid)]
    return mid_captioner.write_mid_captioner(folder / "mid", pixels, lengths, size.mid)
