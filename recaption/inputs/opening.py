"""The units of whatever input a job was given."""

from collections.abc import Sequence

from recaption.input_config import InputConfig
from recaption.inputs.conversation_units import list_conversation_units
from recaption.inputs.dataset_units import list_dataset_units
from recaption.inputs.folder_units import list_folder_units
from recaption.inputs.shard_units import list_shard_units
from recaption.inputs.table_units import list_table_units
from recaption.inputs.units import Unit
from runtime.run import CACHE


def open_units(config: InputConfig) -> Sequence[Unit]:
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
