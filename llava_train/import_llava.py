"""`python -m llava_train.import_llava --input DIR --output DIR`: the original LLaVA layout into transformers' own."""

from runtime.config import parse
from runtime.entry import run_entry


def main() -> None:
    """Import a captioner and say where it is."""
    from llava_train.import_config import ImportConfig

    config = parse(
        ImportConfig,
        None,
        prog="python -m llava_train.import_llava",
        description="Turn a captioner of the original LLaVA code into a directory for transformers, vLLM and SGLang.",
    )
    from llava_train.importing import import_captioner

    print(f"captioner: {import_captioner(config)}")


if __name__ == "__main__":
    run_entry(main)
