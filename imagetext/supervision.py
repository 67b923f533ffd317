"""Which tokens are supervised: those that lie in what the assistant says."""

from collections.abc import Iterator, Sequence

from imagetext.chat_marks import MarkedText


def supervised_tokens(marked: MarkedText, offsets: Sequence[tuple[int, int]]) -> list[bool | None]:
    """Return for every token whether the assistant says it; None for one that lies half in an answer.

    `offsets` are each token's characters, first and after the last. White space on a token's edges does not count, so
    that " A" may begin an answer though the template's prompt ends before "A" (LLaVA-1.5's own does).
    """
    return list(_decisions(marked, offsets))


def _decisions(marked: MarkedText, offsets: Sequence[tuple[int, int]]) -> Iterator[bool | None]:
    place = 0
    for offset in offsets:
        start, end = _core(marked.text, *offset)
        while place < len(marked.spans) and marked.spans[place][1] <= start:
            place += 1
        if place == len(marked.spans) or end <= marked.spans[place][0]:
            yield False
        elif marked.spans[place][0] <= start and end <= marked.spans[place][1]:
            yield True
        else:
            yield None


def _core(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a token's characters without white space on its edges; of white space alone, the last character.

    Byte-level tokenizers trim the offsets of their tokens: a space of its own is said to lie, empty, after itself.
    """
    core = text[start:end].strip()
    if not core:
        return end - 1, end
    start += text[start:end].index(core)
    return start, start + len(core)
