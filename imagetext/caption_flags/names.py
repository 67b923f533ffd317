"""Names of what a caption can be flagged for, and which of it makes a caption unfit."""

CUT_OFF = "cut_off"
REPETITION_LOOP = "repetition_loop"
REFUSAL = "refusal"
SPECIAL_TOKENS = "special_tokens"
WRONG_SCRIPT = "wrong_script"
EMPTY = "empty"
TOO_SHORT = "too_short"
PROMPT_ECHO = "prompt_echo"
ALT_TEXT_COPIED = "alt_text_copied"
BOILERPLATE_OPENING = "boilerplate_opening"
NEGATIVE_STATEMENT = "negative_statement"
SUBJECTIVE_ENDING = "subjective_ending"
SAME_AS_MANY = "same_as_many"
CONDITION_DROPPED = "condition_dropped"

DEFECTS = {
    EMPTY: "says nothing",
    TOO_SHORT: "fewer than three words",
    CUT_OFF: "ended by the limit on its length, not by itself",
    REPETITION_LOOP: "says the same again and again",
    REFUSAL: "declines to answer",
    SPECIAL_TOKENS: "holds marks of a tokenizer or a chat template, or broken characters",
    WRONG_SCRIPT: "largely in another script than the one wanted, quoted words aside",
    PROMPT_ECHO: "gives back the request, or begins with a label",
    ALT_TEXT_COPIED: "copies the text that the captioner was told",
}
"""What makes a caption unfit; a caption without any of it is clean."""

BLEMISHES = {
    BOILERPLATE_OPENING: "begins as captions of any picture do",
    NEGATIVE_STATEMENT: "tells what is not in the picture",
    SUBJECTIVE_ENDING: "ends in an impression instead of a sight",
    SAME_AS_MANY: "the same words as for many other pictures of its unit",
    CONDITION_DROPPED: "asked for without the row's own text, since a first caption gave that back",
}
"""What a caption is worth knowing for; the cleaned caption is without what can be taken out."""

FLAGS = {**DEFECTS, **BLEMISHES}
"""What each flag says of a caption."""
