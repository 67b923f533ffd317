"""The verb `agree`: compare two runs, explain what differs, and leave with exit code 1 where that is no tie."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from imagetext.decode import decode
from recaption.agreement.config import AgreeConfig
from recaption.agreement.differences import Comparison, Difference, compare
from recaption.config import RecaptionConfig
from recaption.inputs.opening import open_units
from recaption.inputs.units import InputRow, Unit
from recaption.job.folder import CONFIG
from recaption.job.reopening import finished_of, saved_config
from recaption.prompts import decodings_for, identify_prompts, job_prompts, prompts_for
from runtime.errors import UserError


def agree(config: AgreeConfig) -> None:
    """Compare the captions of two runs and print where they part; raises SystemExit(1) where they do not agree."""
    job = _job(config)
    names = sorted(set(finished_of(config.recaptions)) & set(finished_of(config.other)))
    if not names:
        raise UserError("no unit is finished in both runs", where=config.other, wanted=f"units of {config.recaptions}")
    found = compare(config.recaptions, config.other, names, _greedy_columns(job))
    num_apart = 0
    for line, tied in _explained(config, job, found):
        print(line)
        num_apart += not tied
    for line in found.unlike:
        print(line)
    num_ties = len(found.differences) - num_apart
    print(
        f"{config.recaptions} and {config.other}: {found.num_equal} of {found.num_captions} captions are equal "
        f"({100 * found.equal_share:.2f} %), {num_ties} part at a tie of two tokens, {num_apart} elsewhere, "
        f"{len(found.unlike)} were not asked alike"
    )
    if num_apart or found.unlike or found.equal_share < config.equal_share_min:
        raise SystemExit(1)


def _job(config: AgreeConfig) -> RecaptionConfig:
    """Return what the first run was told, once it is sure that both were asked the same."""
    jobs = [saved_config(config.recaptions, vars(config.input)), saved_config(config.other, {})]
    ours, theirs = jobs
    if ours is None or theirs is None:
        where = config.recaptions if ours is None else config.other
        raise UserError("captions of another origin", where=where, found=f"no {CONFIG}", wanted="the folder of a run")
    if identify_prompts(ours) != identify_prompts(theirs) or ours.max_new_tokens != theirs.max_new_tokens:
        fix = "Compare runs with the same prompts and max_new_tokens"
        raise UserError("was asked something else", where=config.other, found=theirs.prompt, fix=fix)
    return ours


def _greedy_columns(job: RecaptionConfig) -> list[str]:
    """Return the columns whose captions were not drawn: only these can be expected to be equal."""
    columns = [column for column, decoding in zip(job_prompts(job), decodings_for(job), strict=True) if decoding.greedy]
    if not columns:
        raise UserError("all captions are drawn", where="prompt", found=job.prompt, wanted="a greedy prompt")
    return columns


def _explained(config: AgreeConfig, job: RecaptionConfig, found: Comparison) -> Iterator[tuple[str, bool]]:
    """Yield a line for each difference, and whether it is a tie."""
    if not found.differences:
        return
    # torch takes seconds to import, and equal captions need none of it.
    from recaption.agreement.ties import Partings

    partings = Partings(job.model, config.device)
    for difference, row in _with_rows(open_units(job), found.differences):
        prompt = _prompt(job, row, difference)
        pixels = partings.prepare(decode(row.image or b""))
        parting = partings.find(pixels, prompt, difference.text, difference.other_text)
        if parting is None:
            yield f"{difference.name}: the same tokens in other words: {difference.other_text!r}", False
        else:
            yield f"{difference.name}: {parting.describe()}", parting.rank == 2 and parting.logit_gap <= config.tie


def _with_rows(units: Sequence[Unit], differences: Sequence[Difference]) -> Iterator[tuple[Difference, InputRow]]:
    by_unit: dict[str, dict[str, list[Difference]]] = defaultdict(lambda: defaultdict(list))
    for difference in differences:
        by_unit[difference.unit][difference.key].append(difference)
    for unit in units:
        wanted = by_unit.get(unit.name, {})
        for row in unit.rows() if wanted else ():
            yield from ((difference, row) for difference in wanted.get(row.key, ()))


def _prompt(job: RecaptionConfig, row: InputRow, difference: Difference) -> str:
    return prompts_for(job, row)[list(job_prompts(job)).index(difference.column)]
