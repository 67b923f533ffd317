"""Scoring pictures against their prompts, claim by claim, through a judge's eyes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.outcomes import Ratio, ratio
from miniweb.claims import CLAIM_KINDS, Parsed, Perceived, check
from miniweb.scene import Scene


@dataclass(frozen=True, kw_only=True)
class PromptScore:
    """How far one picture follows one prompt."""

    supported: Mapping[str, int]
    """Claims that hold, by kind."""
    claimed: Mapping[str, int]
    """Claims made, by kind."""
    num_extra_things: int
    """Things seen that the prompt does not mention."""

    @property
    def num_supported(self) -> int:
        """Claims that hold."""
        return sum(self.supported.values())

    @property
    def num_claims(self) -> int:
        """Claims made."""
        return sum(self.claimed.values())

    @property
    def whole(self) -> bool:
        """Everything holds and nothing is there that was not asked for."""
        return self.num_claims > 0 and self.num_supported == self.num_claims and self.num_extra_things == 0


def score_prompt(parsed: Parsed, seen: Perceived | Scene) -> PromptScore:
    """Score one picture, as seen, against the claims of its prompt."""
    checked = check(parsed, seen)
    supported = _count_kinds([claim.kind for claim in checked.supported])
    claimed = _count_kinds([claim.kind for claim in parsed.claims])
    return PromptScore(supported=supported, claimed=claimed, num_extra_things=checked.num_extra_things)


def claims_followed(scores: Mapping[str, PromptScore]) -> Ratio:
    """Measure claims that hold of all claims and all extra things; a test item is a prompt."""
    return ratio(
        {
            key: (float(score.num_supported), float(score.num_claims + score.num_extra_things))
            for key, score in scores.items()
        }
    )


def claims_followed_of_kind(scores: Mapping[str, PromptScore], kind: str) -> Ratio:
    """Measure claims of one kind that hold, without counting extra things."""
    return ratio({key: (float(score.supported[kind]), float(score.claimed[kind])) for key, score in scores.items()})


def whole_prompts(scores: Mapping[str, PromptScore]) -> Ratio:
    """Measure prompts that hold as a whole, with nothing extra."""
    return ratio({key: (float(score.whole), 1.0) for key, score in scores.items()})


def extra_things(scores: Mapping[str, PromptScore]) -> Ratio:
    """Measure things per picture that its prompt does not mention."""
    return ratio({key: (float(score.num_extra_things), 1.0) for key, score in scores.items()})


def score_prompts(
    keys: Sequence[str], parsed: Sequence[Parsed], seen: Sequence[Perceived | Scene]
) -> dict[str, PromptScore]:
    """Score pictures against their prompts, by prompt key."""
    return {key: score_prompt(prompt, picture) for key, prompt, picture in zip(keys, parsed, seen, strict=True)}


def _count_kinds(kinds: Sequence[str]) -> dict[str, int]:
    return {kind: kinds.count(kind) for kind in CLAIM_KINDS}
