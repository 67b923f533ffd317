"""Documentation of config fields, read from the docstring under each field."""

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def attribute_docstrings(schema: type) -> dict[str, str]:
    """Return field name -> docstring for one dataclass, base classes included, each on one line."""
    documented: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if is_dataclass(base):
            documented |= _own_docstrings(base)
    return documented


def dotted_fields(schema: type, prefix: str = "") -> dict[str, str]:
    """Return dotted field name -> docstring for a tree of nested dataclasses, those that may be None included."""
    documentation, hints = attribute_docstrings(schema), get_type_hints(schema)
    result: dict[str, str] = {}
    for field in fields(schema):
        name = prefix + field.name
        result[name] = documentation.get(field.name, "")
        for part in _dataclasses_in(hints[field.name]):
            result |= dotted_fields(part, f"{name}.")
    return result


def _dataclasses_in(hint: Any) -> list[type]:
    """Return the dataclass that a field is, or may be: `Part`, `Part | None`."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [member for member in members if isinstance(member, type) and is_dataclass(member)]


def _own_docstrings(schema: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(schema)))
    except (OSError, SyntaxError):
        # A class typed into a console has no source, hence no docstrings under its fields.
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
