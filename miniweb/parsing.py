"""From phrases to claims: which adjective belongs to which noun, and which thing is related to which."""

from dataclasses import dataclass, field

from miniweb.claim_types import Claim, ClaimKind, Mention, Parsed
from miniweb.phrases import Phrase, sentences
from miniweb.pointing import OPPOSITE

_NO_MENTION = -1


def parse(text: str) -> Parsed:
    """Parse a caption of any voice, or a captioner's imperfect one, into claims."""
    reader = _Reader()
    all_sentences = sentences(text)
    num_unparsed = sum(not reader.read(phrases) for phrases in all_sentences)
    return Parsed(
        claims=tuple(reader.claims.values()),
        mentions=tuple(reader.mentions),
        num_sentences=len(all_sentences),
        num_unparsed_sentences=num_unparsed,
    )


@dataclass
class _Reader:
    """A caption read so far: what it has introduced, and what it has claimed, each claim once."""

    mentions: list[Mention] = field(default_factory=list)
    claims: dict[Claim, Claim] = field(default_factory=dict)

    def read(self, phrases: list[Phrase]) -> bool:
        """Read a sentence; False if it claims nothing, or something in it was left over."""
        meant = self._resolve(phrases)
        whole = bool(phrases)
        claims_anything = False
        for position, phrase in enumerate(phrases):
            if phrase.type == "relation":
                whole &= self._relate(phrases, meant, position)
            elif phrase.type == "adjective":
                whole &= self._attach(phrase, phrases, meant, position)
            elif phrase.type == "called":
                whole &= 0 < position < len(phrases) - 1 and meant[position - 1] == meant[position + 1] != _NO_MENTION
            elif phrase.type == "place":
                self._claim(Claim("background", phrase.value))
            elif phrase.type == "total":
                self._claim(Claim("count", phrase.value))
            whole &= phrase.type != "unknown"
            claims_anything |= phrase.type in ("noun", "place", "total", "adjective")
        return whole and claims_anything

    def _claim(self, claim: Claim) -> None:
        key = claim
        if claim.kind == "relation" and claim.value in ("right of", "below"):
            key = Claim("relation", OPPOSITE[claim.value], claim.other, claim.subject)  # type: ignore[index]
        self.claims.setdefault(key, claim)

    def _resolve(self, phrases: list[Phrase]) -> list[int]:
        """Return the mention that each noun and pronoun means, introducing the new ones."""
        meant: list[int] = []
        for position, phrase in enumerate(phrases):
            if phrase.type == "pronoun":
                meant.append(len(self.mentions) - 1)
            elif phrase.type != "noun":
                meant.append(_NO_MENTION)
            elif phrases[position - 1].type == "called" and position > 1 and phrase.species:
                meant.append(self._name(phrase, meant[position - 2]))
            else:
                found = self._find(phrase) if phrase.points_back else None
                meant.append(self._introduce(phrase) if found is None else found)
        return meant

    def _name(self, phrase: Phrase, subject: int) -> int:
        """Give the mention before `called` its species."""
        if subject != _NO_MENTION:
            self._claim(Claim("species", phrase.species, subject))
        return subject

    def _find(self, phrase: Phrase) -> int | None:
        """Return the latest mention that agrees with all that the phrase says."""
        said: list[tuple[ClaimKind, str]] = [("colour", value) for value in phrase.colours]
        said += [("size", value) for value in phrase.sizes]
        said += [("species", phrase.species)] * bool(phrase.species)
        for number in reversed(range(len(self.mentions))):
            mention = self.mentions[number]
            fits = mention.kind == phrase.value and phrase.is_plural in (None, mention.many > 1)
            if fits and all(Claim(kind, value, number) in self.claims for kind, value in said):
                return number
        return None

    def _introduce(self, phrase: Phrase) -> int:
        number = len(self.mentions)
        self.mentions.append(Mention(phrase.value, phrase.many))
        self._claim(Claim("object", phrase.value, number))
        if phrase.species:
            self._claim(Claim("species", phrase.species, number))
        if phrase.many > 1:
            self._claim(Claim("count", str(phrase.many), number))
        self._describe(phrase, number)
        return number

    def _describe(self, phrase: Phrase, number: int) -> None:
        for colour in phrase.colours:
            self._claim(Claim("colour", colour, number))
        for size in phrase.sizes:
            self._claim(Claim("size", size, number))

    def _attach(self, phrase: Phrase, phrases: list[Phrase], meant: list[int], position: int) -> bool:
        """Give an adjective without a noun to the noun or pronoun right before it."""
        subject = meant[position - 1] if position else _NO_MENTION
        if subject == _NO_MENTION:
            return False
        self._describe(phrase, subject)
        return True

    def _relate(self, phrases: list[Phrase], meant: list[int], position: int) -> bool:
        """Claim a relation: `A above B`, or `above B [there is] A`, or `A ..., above B`."""
        other = meant[position + 1] if position + 1 < len(phrases) else _NO_MENTION
        before = [number for number in meant[:position] if number != _NO_MENTION]
        if position and meant[position - 1] != _NO_MENTION:
            subject = meant[position - 1]
        else:
            subject = _fronted_subject(phrases, meant, position + 2)
            if subject == _NO_MENTION and before:
                subject = before[-1]
        if _NO_MENTION in (subject, other):
            return False
        self._claim(Claim("relation", phrases[position].value, subject, other))
        return True


def _fronted_subject(phrases: list[Phrase], meant: list[int], position: int) -> int:
    """Return what is said to stand where a sentence's opening relation points."""
    while position < len(phrases) and phrases[position].type in ("comma", "and"):
        position += 1
    return meant[position] if position < len(phrases) and phrases[position].type == "noun" else _NO_MENTION
