"""The tokenizer as it is published, for servers that tokenize prompts and stop answers by its defaults alone."""

import copy
from typing import Any

from transformers import PreTrainedTokenizerBase

from imagetext.chat_marks import own_template, render_text
from imagetext.conversations import stop_token_ids

_EXAMPLE = ({"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A boat."})


def published_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a copy that adds no second BOS to a prompt of its chat template, and whose EOS is what ends an answer.

    Processors called with a rendered prompt, as lmms-eval and SGLang call them, would otherwise put another BOS before
    the template's own. lmms-eval stops at EOS alone, with which a base model's tokenizer ends no answer.
    """
    published: Any = copy.deepcopy(tokenizer)
    text = render_text(str(own_template(tokenizer)), _EXAMPLE, tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False)
    if ids[0] == tokenizer.bos_token_id:
        published.add_bos_token = False
    stops = stop_token_ids(tokenizer)
    ends = [token for token in ids if token in stops]
    if ends:
        published.eos_token = tokenizer.convert_ids_to_tokens(ends[-1])
    return published
