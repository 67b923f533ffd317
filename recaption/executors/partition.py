"""A job split among processes that never speak to each other: Slurm arrays, indexed jobs of Kubernetes, by hand."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from runtime.errors import UserError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """One of `count` parts of a job, counted from 0 as array indices are."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read "3/16"; raise UserError for anything else, and for an index that is not below the count."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        part = cls(int(match[1]), int(match[2])) if match else None
        if part is None or part.index >= part.count:
            wanted = "INDEX/COUNT with INDEX from 0 to COUNT - 1, such as 0/16"
            raise UserError("no part of a job", where="part", found=text, wanted=wanted)
        return part

    @property
    def is_whole(self) -> bool:
        """Tell whether there is no other part."""
        return self.count == 1

    def choose(self, items: Sequence[Item]) -> list[Item]:
        """Return every `count`-th item: parts of one sequence are disjoint, cover it, and differ by one at most.

        The sequence must be the whole input, done or not: what is finished changes nobody's part then.
        """
        return [items[place] for place in range(self.index, len(items), self.count)]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
