"""Build a small web: `python -m miniweb --config configs/miniweb/mini.yaml --output_dir DIR`."""

from runtime.config import parse
from runtime.entry import run_entry


def main() -> None:
    """Parse, build, and say what was built."""
    from miniweb.build import build
    from miniweb.config import MiniwebConfig

    config = parse(MiniwebConfig, None, prog="python -m miniweb", description="Build a small web with known truth.")
    manifest = build(config)
    print(f"{config.output_dir}: {manifest['num_files']} files, fingerprint {manifest['fingerprint']}")


if __name__ == "__main__":
    run_entry(main)
