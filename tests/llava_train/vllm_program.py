"""Caption pictures with vLLM, in the environment that `make setup-vllm` builds; it holds nothing of ours.

    python vllm_program.py CAPTIONER PICTURES PROMPT MAX_NEW_TOKENS OUTPUT

Writes a JSON list with one object per picture, in the order of their names: the prompt's tokens, those answered, and
why it ended.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    captioner, pictures, prompt, max_new_tokens, output = sys.argv[1:]
    from PIL import Image
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=captioner,
        dtype="float32",
        max_model_len=128,
        max_num_seqs=16,
        enforce_eager=True,
        enable_prefix_caching=False,
        limit_mm_per_prompt={"image": 1},
        kv_cache_memory_bytes=2**27,
        seed=0,
    )
    images = [Image.open(path).convert("RGB") for path in sorted(Path(pictures).iterdir())]
    asked = [
        [{"role": "user", "content": [{"type": "image_pil", "image_pil": image}, {"type": "text", "text": prompt}]}]
        for image in images
    ]
    settings = SamplingParams(temperature=0.0, max_tokens=int(max_new_tokens))
    answers = [
        {
            "prompt_ids": list(done.prompt_token_ids),
            "token_ids": list(done.outputs[0].token_ids),
            "text": done.outputs[0].text,
            "finish_reason": done.outputs[0].finish_reason,
        }
        for done in engine.chat(asked, settings, use_tqdm=False)
    ]
    Path(output).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
