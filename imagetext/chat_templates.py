"""Chat templates by name, each as our copy that marks what the assistant says.

Published templates mark nothing, so a trainer can't tell from them which tokens to supervise. The copies here render
the same text with `{% generation %}` around every answer and the token that ends it. They stay with us: a captioner is
published with the text without marks (`ChatTemplate.plain`), which every server's template engine reads.

All take a message's content as text or as the parts that processors and servers send, with the image first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_MARKS = ("{%- generation -%}", "{%- endgeneration -%}")

_CONTENT_PLACE = "{#- content -#}\n"
_CONTENT = """\
{%- set said = namespace(text='') -%}
{%- if message['content'] is string -%}
{%- set said.text = message['content'] -%}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'text' -%}
{%- set said.text = said.text + part['text'] -%}
{%- else -%}
{%- set said.text = '<image>\\n' + said.text -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
"""
"""A message's content as one text, `said.text`; an image among its parts goes to the front, as LLaVA puts it."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A way to write a conversation down."""

    name: str
    """What `chat_template` calls it."""
    annotated: str
    """Jinja text with `{% generation %}` around what the assistant says."""

    @property
    def plain(self) -> str:
        """Return the same text without the marks. What stands on both sides of a mark trims its own white space."""
        text = self.annotated
        for mark in _MARKS:
            text = text.replace(mark, "")
        return text


_LLAMA3 = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' -}}
{#- content -#}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- said.text | trim + '<|eot_id|>' -}}{%- endgeneration -%}
{%- else -%}
{{- said.text | trim + '<|eot_id|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""

_PLAIN = """\
{{- bos_token -}}
{%- for message in messages -%}
{#- content -#}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- said.text | trim + '\\n' -}}{%- endgeneration -%}
{%- elif '<image>' in said.text -%}
{{- '<image>' -}}
{%- endif -%}
{%- endfor -%}
"""

_VICUNA = """\
{{- bos_token -}}
{%- if messages[0]['role'] != 'system' -%}
{{- "A chat between a curious user and an artificial intelligence assistant. " -}}
{{- "The assistant gives helpful, detailed, and polite answers to the user's questions. " -}}
{%- endif -%}
{%- for message in messages -%}
{#- content -#}
{%- if message['role'] == 'assistant' -%}
{{- 'ASSISTANT:' -}}
{%- generation -%}{{- ' ' + said.text | trim + eos_token -}}{%- endgeneration -%}
{%- elif message['role'] == 'user' -%}
{{- 'USER: ' + said.text | trim + ' ' -}}
{%- else -%}
{{- said.text | trim + ' ' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'ASSISTANT:' -}}
{%- endif -%}
"""

_MISTRAL = """\
{{- bos_token -}}
{%- for message in messages -%}
{#- content -#}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- said.text + eos_token -}}{%- endgeneration -%}
{%- else -%}
{{- '[INST] ' + said.text + ' [/INST]' -}}
{%- endif -%}
{%- endfor -%}
"""

_CHATML = """\
{%- if messages[0]['role'] != 'system' -%}
{{- 'OPENING' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{#- content -#}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- said.text + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- said.text + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def _template(name: str, text: str) -> ChatTemplate:
    return ChatTemplate(name=name, annotated=text.replace(_CONTENT_PLACE, _CONTENT))


def _chatml(name: str, system: str | None = None) -> ChatTemplate:
    """Return ChatML; some families open it with a system message of their own where the conversation has none."""
    opening = "" if system is None else f"<|im_start|>system\\n{system}<|im_end|>\\n"
    return _template(name, _CHATML.replace("OPENING", opening))


LLAMA3 = _template("llama3", _LLAMA3)
"""LLaMA-3-Instruct's turns."""

LLAVA_PLAIN = _template("plain", _PLAIN)
"""LLaVA's alignment phase: the image, then the answer and a new line; what was asked is dropped."""

CHAT_TEMPLATES: Mapping[str, ChatTemplate] = {
    template.name: template
    for template in (
        LLAMA3,
        _chatml("chatml"),
        _chatml("qwen2", "You are a helpful assistant."),
        _chatml("qwen2_5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
        _template("mistral", _MISTRAL),
        _template("vicuna", _VICUNA),
    )
}
"""Templates in which a captioner can be asked, by the name that `chat_template` gives them.

mistral is that of Mistral-7B-Instruct-v0.1 and v0.2, vicuna LLaVA-1.5's own (`conv_vicuna_v1`).
"""
