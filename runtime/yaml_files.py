"""Read YAML files that people write, with errors that name the file, the line and the key."""

from pathlib import Path
from typing import Any

import yaml

from runtime.errors import UserError


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Return the mapping in a YAML file; `what` names the kind of file in errors ("config file").

    Raises UserError when the file is missing, not YAML, holds no mapping, or gives a key twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{what} not found", where=path, fix="Give the path of a YAML file.")
    try:
        text = path.read_text()
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not YAML: {error}", where=path) from error
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{what} holds no fields", where=path, wanted="lines of the form `field: value`")
    _refuse_duplicate_keys(node, path)
    mapping: dict[str, Any] = yaml.safe_load(text)
    return mapping


def _refuse_duplicate_keys(node: yaml.Node, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                lines = f"lines {seen[key.value]} and {line}"
                raise UserError(f"key {key.value!r} is given twice", where=path, found=lines, wanted="one of them")
            seen[key.value] = line
            _refuse_duplicate_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicate_keys(item, path)
