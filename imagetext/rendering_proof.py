"""What must hold of one rendered conversation before a chat template is trained with."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from imagetext.token_display import first_difference, shown_tokens, token_names, with_repeats_counted
from runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def require_one_bos(ids: Sequence[int], supervised: Sequence[bool], tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise UserError unless the text begins with one BOS where the tokenizer puts it, and holds none otherwise.

    Answers are left out: some models end them with the token that others begin with.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    wanted = tokenizer("a")["input_ids"][:1] == [bos]
    places = [place for place, (one, said) in enumerate(zip(ids, supervised, strict=True)) if one == bos and not said]
    if places == [0] or (not places and not wanted):
        return
    raise UserError(
        f"chat template does not begin with one {tokenizer.bos_token}",
        where=tokenizer.name_or_path,
        found=f"{len(places)} in tokens {shown_tokens(ids, tokenizer)}",
        wanted="one, in front" if wanted else "at most one, in front",
        fix="Mend the tokenizer's chat template: it writes bos_token once, before the first message",
    )


def require_stops(
    ids: Sequence[int], supervised: Sequence[bool], tokenizer: "PreTrainedTokenizerBase", stop_ids: Collection[int]
) -> None:
    """Raise UserError unless every answer's last supervised token is one at which generation stops."""
    followed_by = [*supervised[1:], False]
    for place, (said, said_next) in enumerate(zip(supervised, followed_by, strict=True)):
        if said and not said_next and ids[place] not in stop_ids:
            raise UserError(
                "chat template has no token that ends an answer",
                where=tokenizer.name_or_path,
                found=f"an answer that ends in {shown_tokens(ids[max(0, place - 4) : place + 1], tokenizer)}",
                wanted=f"one of {shown_tokens(sorted(stop_ids), tokenizer)} inside the marks",
                fix="Take a template whose end token is in the tokenizer's vocabulary",
            )


def require_prompt(
    ids: Sequence[int], supervised: Sequence[bool], tokenizer: "PreTrainedTokenizerBase", prompt: Sequence[int]
) -> None:
    """Raise UserError unless a prompt is, token by token, what stands before the first answer in training."""
    before_answer = ids[: supervised.index(True)]
    if list(before_answer) == list(prompt):
        return
    trained, asked = (with_repeats_counted(token_names(one, tokenizer)) for one in (before_answer, prompt))
    raise UserError(
        "chat template asks otherwise than it trains",
        where=tokenizer.name_or_path,
        found=first_difference(trained, asked),
        wanted="a prompt that ends where answers begin ([-...-] is only trained, {+...+} is only asked)",
    )
