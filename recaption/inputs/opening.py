"""The units of whatever input a job was given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from recaption.inputs.conversation_units import list_conversation_units
from recaption.inputs.dataset_units import list_dataset_units
from recaption.inputs.folder_units import list_folder_units
from recaption.inputs.shard_units import list_shard_units
from recaption.inputs.table_columns import ColumnsConfig
from recaption.inputs.table_units import list_table_units
from recaption.inputs.units import Unit
from runtime.run import CACHE


@runtime_checkable
class SaysInput(Protocol):
    """A config that says what its input is, as that of `run` does."""

    @property
    def shards(self) -> str | None:
        """Return the place of shards."""

    @property
    def images(self) -> Path | None:
        """Return the folder of pictures."""

    @property
    def table(self) -> str | None:
        """Return the place of tables."""

    @property
    def dataset(self) -> str | None:
        """Return the place of a data set."""

    @property
    def split(self) -> str | None:
        """Return the data set's split."""

    @property
    def conversations(self) -> Path | None:
        """Return the file of conversations."""

    @property
    def pictures(self) -> Path | None:
        """Return the folder of the conversations' pictures."""

    @property
    def columns(self) -> ColumnsConfig:
        """Return what the columns of tables mean."""

    @property
    def images_per_unit(self) -> int:
        """Return how many rows share a unit."""

    @property
    def output_dir(self) -> Path:
        """Return the folder beside which indexes may be kept."""


def open_units(config: SaysInput) -> Sequence[Unit]:
    """Return the units of a job's input, in order.

    Shards and folders are listed, not opened; of tables the footers are read, of a conversation file every record.

    Raises UserError for an input that is not there, is empty, or is not what the config says.
    """
    if config.shards is not None:
        return list_shard_units(config.shards)
    if config.images is not None:
        return list_folder_units(config.images, config.images_per_unit)
    if config.table is not None:
        return list_table_units(config.table, config.images_per_unit, config.columns)
    if config.dataset is not None:
        return list_dataset_units(config.dataset, config.split, config.images_per_unit, config.columns)
    assert config.conversations is not None and config.pictures is not None, "the config was checked"
    cache = config.output_dir / CACHE
    return list_conversation_units(config.conversations, config.pictures, config.images_per_unit, cache)
