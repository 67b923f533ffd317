"""Caption pictures behind the captioners' seam, in the environment that `make setup-vllm` builds.

    python -m tests.recaption.captioners.vllm_program CAPTIONER PICTURES OUTPUT

Writes a JSON object: results by ticket, the most rows that were asked before the first was answered, and what became of
a request that is longer than the model reads.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_NEW_TOKENS = 24
MODEL_TOKENS = 128
SHORT = "What is it?"


def main() -> None:
    model, pictures, output = sys.argv[1:]
    import numpy as np
    from PIL import Image

    from recaption.captioner_config import VllmConfig
    from recaption.captioners.base import Answered, Hole, Item, Request, UnitEnd
    from recaption.captioners.opening import open_captioner
    from recaption.config import RecaptionConfig

    config = RecaptionConfig(
        model=Path(model),
        output_dir=Path("side"),
        shards="shards",
        captioner="vllm",
        precision="fp32",
        device="cpu",
        max_new_tokens=MAX_NEW_TOKENS,
        more_prompts={"short": SHORT},
        vllm=VllmConfig(max_sequences=8, max_model_tokens=MODEL_TOKENS, kv_cache_gib=0.125, eager=True),
    )
    captioner = open_captioner(config)
    prepare = captioner.prepare
    asked: list[int] = []

    def items() -> Iterator[Item]:
        for ticket, path in enumerate(sorted(Path(pictures).iterdir())):
            picture = prepare(Image.open(path).convert("RGB"))
            asked.append(ticket)
            yield Request(ticket=ticket, picture=picture, prompts=(config.prompt, SHORT), key=path.name)
            yield Hole()
            if ticket % 5 == 0:
                yield UnitEnd()
        endless = ("word " * MODEL_TOKENS, SHORT)
        yield Request(ticket=-1, picture=np.zeros((3, 4, 4), dtype=np.uint8), prompts=endless)

    results, asked_at_first = {}, None
    for result in captioner.answer(items()):
        asked_at_first = len(asked) if asked_at_first is None else asked_at_first
        assert result.ticket not in results, f"{result.ticket} was answered twice"
        if isinstance(result, Answered):
            results[result.ticket] = [vars(caption) for caption in result.captions]
        else:
            results[result.ticket] = vars(result)
    found = {"results": results, "asked_at_first": asked_at_first, "captioner_id": captioner.captioner_id}
    Path(output).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
