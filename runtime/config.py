"""Configuration: frozen dataclasses from YAML files and dotted flags, strictly.

Unknown, duplicate, abbreviated and mistyped keys are errors. Later files and flags win; a dictionary in a later file
replaces the earlier one, a dotted flag (`--mix.others.recaption 0.5`) edits one entry. Variants are chosen by name,
never by a union of dataclasses.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from jsonargparse import ArgumentParser, get_loader, set_loader

from runtime.entry import EXIT_USER_ERROR
from runtime.errors import UserError
from runtime.field_docs import dotted_fields

T = TypeVar("T")

_STRICT_YAML = "strict_yaml"


def parse(schema: type[T], argv: Sequence[str] | None, *, prog: str, description: str) -> T:
    """Build a config from the command line: `--config FILE` (repeatable), `--dotted.override V`, `--print_config`,
    `--help`.

    Any mistake ends the process with one line on stderr and exit code 2. `argv=None` reads the process's own
    arguments.
    """
    try:
        return _parse(schema, list(sys.argv[1:] if argv is None else argv), prog=prog, description=description)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_USER_ERROR) from None


def load(schema: type[T], *files: Path, overrides: Sequence[str] = ()) -> T:
    """Build a config from YAML files, later ones winning, and overrides written as on the command line ("--a.b=1").

    Raises UserError naming the key, the value found and the value wanted.
    """
    argv = [token for file in files for token in ("--config", str(file))]
    return _parse(schema, [*argv, *overrides], prog="config", description="")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain JSON types."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}


def to_yaml(config: Any) -> str:
    """Return a config as YAML that `load` reads back to an equal config."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True, width=120)


def _parse(schema: type[T], argv: list[str], *, prog: str, description: str) -> T:
    parser = _StrictParser(prog=prog, description=description, parser_mode=_STRICT_YAML, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file; may be repeated, later files win.")
    parser.add_class_arguments(schema)
    documentation = dotted_fields(schema)
    _describe(parser, documentation)
    try:
        config = parser.instantiate(parser.parse_args(argv))
        values = {field.name: config[field.name] for field in fields(schema)}  # type: ignore[arg-type]
        return schema(**values)
    except UserError as error:
        raise _with_dotted_name(error, list(documentation)) from None
    except ValueError as error:
        raise UserError(str(error)) from error


def _describe(parser: ArgumentParser, documentation: Mapping[str, str]) -> None:
    for action in parser._actions:
        action.help = documentation.get(action.dest, action.help)
    for group in parser._action_groups:
        if str(group.title).startswith("<class"):
            group.title = str(group.title).rsplit(".", 1)[-1].rstrip("'>")


class _StrictParser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise _as_user_error(message) from ex


def _as_user_error(message: str) -> UserError:
    line = " ".join(message.split()).replace('in "<unicode string>", ', "at ")
    wrong_type = re.fullmatch(r'Parser key "(.+?)": Expected a (.+?)\. Got value: (.*)', line)
    if wrong_type:
        key, wanted, found = wrong_type.groups()
        return UserError(
            "wrong value", where=key, found=found, wanted=re.sub(r"<class '(.+?)'>|typing\.", r"\1", wanted)
        )
    return UserError(line, fix="Run with --help to see the accepted fields.")


def _with_dotted_name(error: UserError, dotted_names: Sequence[str]) -> UserError:
    """Name a field by its full path when the dataclass that refused it knows only its own part of the tree."""
    matches = [name for name in dotted_names if name == error.where or name.endswith(f".{error.where}")]
    if len(matches) != 1 or matches[0] == error.where:
        return error
    named = UserError(str(error).replace(str(error.where), matches[0], 1))
    named.where = matches[0]
    return named


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _load_strict_yaml(text: str) -> Any:
    _refuse_duplicate_keys(yaml.compose(text, Loader=yaml.SafeLoader))
    return get_loader("yaml")(text)


def _refuse_duplicate_keys(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
            _refuse_duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicate_keys(item)


set_loader(_STRICT_YAML, _load_strict_yaml, exceptions=(yaml.YAMLError,))
