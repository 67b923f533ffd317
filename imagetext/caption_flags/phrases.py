"""Phrases by which captions refuse, begin, deny and end; matched where they mean that, and not within quotations."""

import re

_THING = (
    r"(?:image|picture|photo|photograph|photography|illustration|drawing|painting|scene|screenshot|graphic|artwork|"
    r"poster|snapshot|shot|close-?up|view)"
)
_VERB = (
    r"(?:shows?|features?|depicts?|displays?|presents?|portrays?|captures?|contains?|showcases?|illustrates?|"
    r"is of|is|appears to be|consists of|includes?|seems to (?:show|depict|be))"
)
_OPENING = re.compile(
    rf"""^\s*(?:
      (?:certainly|sure|of\ course|absolutely)[,.!]?\s*(?:here(?:'s|’s|\ is)\b[^.:\n]{{0,80}}:\s*)?
    | here(?:'s|’s|\ is)\ (?:a|an|the)\b[^.:\n]{{0,80}}:\s*
    | (?:in\ )?(?:the|this)\ (?:[\w-]+\ ){{0,2}}?{_THING}\ {_VERB}\ (?:(?:a|an)\ {_THING}\ of\ )?
    | in\ (?:the|this)\ (?:\w+\ )?{_THING},?\ (?:there\ (?:is|are)|(?:we|you|i)\ (?:can\ )?see)[ ]
    | (?:this|it|here)\ is\ (?:a|an)\ (?:[\w-]+\ ){{0,2}}?{_THING}\ (?:of|showing|depicting|featuring)[ ]
    | (?:we|you|i)\ (?:can\ )?see[ ]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_REFUSAL = re.compile(
    r"""^\W{0,3}(?:
      (?:i['’]?m|i\ am|we['’]?re|we\ are)\ (?:\w+\ ){0,2}?(?:sorry|unable|not\ able|not\ allowed)\b
    | (?:i|we)\ (?:cannot|can['’]?t|can\ not|won['’]?t|do\ not|don['’]?t|am\ not|could\ not|couldn['’]?t)\ (?:\w+\ )?
      (?:see|view|help|assist|provide|describe|process|identify|generate|comply|discuss|create|fulfil|access|analy[sz]e|
      caption|have|allowed|able|recogni[sz]e|determine|comment|answer|make)\b
    | sorry(?:[,.!]|\ but)\ (?!we['’]?re\b) | sorry\ (?:i|we)\ (?:can|could|am|are|do|was|were)
    | (?:i|we)\ apologi[sz]e\b | my\ apologies\b | unfortunately,?\ (?:i|we|the\ image)\b | as\ an\ ai\b
    | (?:there\ is\ )?no\ (?:image|picture)\ (?:was|is|has\ been|provided|attached|uploaded|available|to\ describe)\b
    | (?:the|this|your)\ (?:image|picture|request)\ (?:cannot|can['’]?t|could\ not|was\ not|is\ not)\ (?:be\ )?
      (?:displayed|loaded|viewed|shown|processed|provided|available|visible|described|fulfilled)\b
    | please\ (?:provide|upload|share|attach|send)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_NEGATION = re.compile(
    r"""\b(?:
      there\ (?:is|are|was|were|seems?\ to\ be|appears?\ to\ be)\ (?:no|not|nothing|nobody|none)\b
    | there\ (?:isn|aren)['’]t\b
    | (?:with\ )?no\ (?:\w+\ ){0,2}?(?:text|texts|people|persons?|humans?|animals?|logos?|watermarks?|captions?|signs?|
      objects?|elements?|details?|words?|writing|figures?|background)\ (?:\w+\ ){0,2}?
      (?:visible|present|seen|shown|in)\b
    | with\ no\ (?:other|additional|visible|discernible|further)\b
    | (?:with\ )?nothing\ else\b
    | without\ any\b
    | no\ (?:other|additional|discernible|visible|further)\ \w+
    | no\ (?:text|people|humans?)\b
    | (?:is|are)(?:\ not|n['’]t)\ (?:clearly\ )?
      (?:visible|present|shown|clear|discernible|specified|provided|mentioned|known)\b
    | (?:does|do)(?:\ not|n['’]t)\ (?:contain|show|include|have|feature|depict|appear|provide)\b
    | (?:cannot|can['’]?t|can\ not)\ be\ (?:seen|determined|identified|discerned|read|made\ out)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SUBJECTIVE = re.compile(
    rf"""^\s*(?:
      overall\b | in\ (?:summary|conclusion|essence)\b | (?:to\ sum|summing)\ up\b
    | (?:the|its|this)\ (?:overall|general)[ ]
      (?:scene|mood|atmosphere|impression|composition|effect|tone|feel|feeling|style|aesthetic|ambiance|ambience)\b
    | (?:the|this)\ (?:{_THING}|composition|atmosphere|mood)[ ]
      (?:conveys?|evokes?|exudes?|creates?|suggests?|gives?|radiates?|captures?\ (?:a|the)[ ]
      (?:sense|essence|moment|beauty|feeling)|invites?|is\ (?:one\ of|a\ testament))\b
    | it\ (?:conveys|evokes|exudes|is\ a\ (?:testament|reminder))\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_QUOTED = re.compile(r"\"[^\"\n]{1,120}\"|“[^”\n]{1,120}”|(?<!\w)['‘][^'’\n]{1,60}['’](?!\w)")
_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"”’'*)]))\s+(?=[^\sa-z])|\n+")
"""What comes after does not begin in a small letter: a quotation's own mark ends no sentence around it."""


def opening_end(text: str) -> int:
    """Return the length of the opening that captions of any picture have; 0 where there is none."""
    match = _OPENING.match(text)
    return match.end() if match else 0


def is_refusal(text: str) -> bool:
    """Tell whether a text begins by declining to answer; "I'm sorry" on a sign within the picture is none."""
    return _REFUSAL.match(text) is not None


def negation_start(sentence: str) -> int | None:
    """Return where a sentence begins to tell what is not there; None where it does not."""
    match = _NEGATION.search(without_quotations(sentence))
    return match.start() if match else None


def is_subjective(sentence: str) -> bool:
    """Tell whether a sentence gives an impression of the whole instead of a sight."""
    return _SUBJECTIVE.match(sentence) is not None


def sentences_of(text: str) -> list[str]:
    """Split a text after its full stops, exclamation and question marks, and at line breaks."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence]


def without_quotations(text: str) -> str:
    """Return a text of the same length with what stands in quotation marks blanked: words seen in a picture."""
    return _QUOTED.sub(lambda match: " " * len(match[0]), text)
