"""What a caption raises, and what is asked next of a row whose captions have defects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from imagetext.caption_flags.finding import find_flags
from imagetext.caption_flags.names import ALT_TEXT_COPIED, CUT_OFF, PROMPT_ECHO, REPETITION_LOOP
from recaption.captioners.base import Caption
from recaption.config import RecaptionConfig
from recaption.inputs.units import InputRow
from recaption.named_prompts import Decoding, resolve
from recaption.prompts import leaks_in, prompts_without_condition
from recaption.quality.attempts import FIRST, Attempt, choose
from recaption.quality.decodings import max_tokens_again, sampled_again

Defects = Sequence[frozenset[str]]
"""By place, for which defects the caption that stands there is to be asked for again."""


@dataclass(frozen=True, kw_only=True)
class Again:
    """What is asked of a row once more."""

    step: str
    prompts: tuple[str, ...]
    decoding: Decoding | None = None
    """How all its captions are drawn, where not as usual."""
    max_new_tokens: int | None = None
    """Their most tokens, where not as usual."""


class RepairPolicy:
    """Judges captions and says what to ask next; a pure function of a job's config and what was answered."""

    def __init__(self, config: RecaptionConfig):
        self._config, self._repair = config, config.repair
        self._unconditioned = prompts_without_condition(config)
        self._steps: Mapping[str, Callable[[Defects, tuple[str, ...]], Again | None]] = {
            "unconditioned": self._without_condition,
            "more_tokens": self._with_more_tokens,
            "sampled": self._sampled,
            "other_prompt": self._with_other_prompt,
        }

    def assess(self, row: InputRow, asked: tuple[str, ...], step: str, captions: tuple[Caption, ...]) -> Attempt:
        """Return an asking's captions with what each raises, by itself and beside what it was asked."""
        leaks = leaks_in(self._config, row, asked, [caption.text for caption in captions])
        flags = tuple(
            (*find_flags(caption.text, finish_reason=caption.finish_reason, script=self._config.script), *leaked)
            for caption, leaked in zip(captions, leaks, strict=True)
        )
        return Attempt(step=step, captions=captions, flags=flags)

    def next_asking(self, asked: tuple[str, ...], attempts: Sequence[Attempt]) -> Again | None:
        """Return what to ask after some attempts, the last of which was `asked`; None where there is nothing."""
        wanted = self._repair.flags
        defects = [
            frozenset(attempts[choose(attempts, place)].flags[place]).intersection(wanted)
            for place in range(len(asked))
        ]
        if not any(defects):
            return None
        steps: list[str] = list(self._repair.steps)
        last = attempts[-1].step
        left = steps if last == FIRST else steps[steps.index(last) + 1 :]
        return next((again for step in left if (again := self._steps[step](defects, asked)) is not None), None)

    def _without_condition(self, defects: Defects, asked: tuple[str, ...]) -> Again | None:
        leaking = [
            bool(found & {PROMPT_ECHO, ALT_TEXT_COPIED}) and now != other
            for found, now, other in zip(defects, asked, self._unconditioned, strict=True)
        ]
        return Again(step="unconditioned", prompts=self._unconditioned) if any(leaking) else None

    def _with_more_tokens(self, defects: Defects, asked: tuple[str, ...]) -> Again | None:
        most = max_tokens_again(self._config)
        curable = any(CUT_OFF in found and REPETITION_LOOP not in found for found in defects)
        if not curable or most == self._config.max_new_tokens:
            return None
        return Again(step="more_tokens", prompts=asked, max_new_tokens=most)

    def _sampled(self, defects: Defects, asked: tuple[str, ...]) -> Again:
        drawn, most = sampled_again(self._config), max_tokens_again(self._config)
        return Again(step="sampled", prompts=asked, decoding=drawn, max_new_tokens=most)

    def _with_other_prompt(self, defects: Defects, asked: tuple[str, ...]) -> Again:
        other = resolve(self._repair.prompt, where="repair.prompt").unconditioned
        prompts = tuple(other if found else now for found, now in zip(defects, asked, strict=True))
        return Again(step="other_prompt", prompts=prompts)
