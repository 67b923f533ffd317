"""Entry: `python -m dit_train.encode --shards D --vae V --output_dir L`."""

from runtime.entry import run_entry


def main() -> None:
    """Parse, encode what is left to encode."""
    from dit_train.encode_config import EncodeConfig
    from runtime.config import parse

    description = "Encode the images of shards into latents, once for all training runs; run again, it continues."
    config = parse(EncodeConfig, None, prog="python -m dit_train.encode", description=description)
    from dit_train.encoding import encode_shards

    encode_shards(config)


if __name__ == "__main__":
    run_entry(main)
