"""The verbs `export` and `import`: do the work, and print what became of the rows."""

from collections.abc import Mapping
from pathlib import Path

from recaption.exchange.export_config import ExportConfig
from recaption.exchange.exporting import export
from recaption.exchange.import_config import ImportConfig
from recaption.exchange.importing import import_captions


def export_captions(config: ExportConfig) -> None:
    """Export finished captions with their pictures."""
    _print(config.output_dir, export(config))


def import_published(config: ImportConfig) -> None:
    """Import the published captions for one's own shards."""
    _print(config.output_dir, import_captions(config))


def _print(folder: Path, counts: Mapping[str, object]) -> None:
    print(f"{folder}: {', '.join(f'{name} {count}' for name, count in counts.items())}")
