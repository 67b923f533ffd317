"""Configuration: frozen dataclasses from YAML files and dotted flags, strictly.

Unknown, duplicate, abbreviated and mistyped keys are errors. Later files and flags win; a dictionary in a later file
replaces the earlier one, a dotted flag (`--mix.others.recaption 0.5`) edits one entry. Variants are chosen by name,
never by a union of dataclasses.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from jsonargparse import ArgumentParser

from runtime.entry import EXIT_USER_ERROR
from runtime.errors import UserError
from runtime.field_docs import dotted_fields
from runtime.yaml_files import read_mapping

T = TypeVar("T")

_HELP_HINT = "Run with --help to see the accepted fields."
_WRONG_VALUE = (
    r'Parser key "(?P<key>.+?)": Expected a (?P<wanted>.+?)\. Got value: (?P<found>.*)',
    r'Parser key "(?P<key>.+?)": Does not validate against any of the Union subtypes '
    r"Subtypes: \[(?P<wanted>.*?)\] Errors: .* Given value: (?P<found>.*)",
)
# What a config that may be left out says of its own field, between the library's words about the union
_REFUSED_WITHIN = (
    r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: - "
    r"(?P<said>(?P<where>[\w.]+): .*) - Expected a <class 'NoneType'> Given value type: .*"
)


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
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _parse(schema: type[T], argv: list[str], *, prog: str, description: str) -> T:
    _check_files(argv)
    parser = _StrictParser(prog=prog, description=description, allow_abbrev=False, print_config=None)
    parser.add_argument("--config", action="config", help="YAML file; may be repeated, later files win.")
    parser.add_argument("--print_config", action="store_true", help="Print the resolved config as YAML, and exit.")
    parser.add_class_arguments(schema)
    documentation = dotted_fields(schema)
    _describe(parser, documentation)
    try:
        values = parser.instantiate(parser.parse_args(argv))
        config = schema(**{field.name: values[field.name] for field in fields(schema)})  # type: ignore[arg-type]
    except UserError as error:
        raise _with_dotted_name(error, list(documentation)) from None
    except ValueError as error:
        raise _with_dotted_name(_as_field_error(str(error)), list(documentation)) from error
    if values.print_config:
        print(to_yaml(config), end="")
        raise SystemExit(0)
    return config


def _check_files(argv: list[str]) -> None:
    """Refuse config files that are missing, empty, not YAML, or say a key twice, by file and line."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config", action="append", default=[], nargs="?")
    for name in finder.parse_known_args(argv)[0].config:
        read_mapping(Path(name or ""), "config file")


def _describe(parser: ArgumentParser, documentation: Mapping[str, str]) -> None:
    for action in parser._actions:
        action.help = documentation.get(action.dest, action.help)
    for group in parser._action_groups:
        if str(group.title).startswith("<class"):
            group.title = str(group.title).rsplit(".", 1)[-1].rstrip("'>")


class _Dumper(yaml.SafeDumper):
    """Quote texts like "1e3", which the parser (unlike YAML 1.1) reads as numbers."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class _StrictParser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise _as_user_error(message) from ex


def _as_user_error(message: str) -> UserError:
    line = " ".join(message.split()).removesuffix(_HELP_HINT).rstrip()
    for pattern in _WRONG_VALUE:
        match = re.fullmatch(pattern, line)
        if match:
            where, found, wanted = match["key"], _plain_words(match["found"]), _plain_words(match["wanted"])
            return UserError("wrong value", where=where, found=found, wanted=wanted)
    return UserError(line, fix=_HELP_HINT)


def _as_field_error(message: str) -> UserError:
    match = re.fullmatch(_REFUSED_WITHIN, " ".join(message.split()))
    if match is None:
        return UserError(message)
    error = UserError(match["said"])
    error.where = match["where"]
    return error


def _plain_words(text: str) -> str:
    """Write a type or value as a person would: no class wrappers, no module names."""
    text = re.sub(r"NestedArg\(key='(.*?)', val='?(.*?)'?\)", r"\1: \2", text)
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("typing.", "").replace("NoneType", "null")
    return re.sub(r", null$", " or null", text)


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
