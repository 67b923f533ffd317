"""Documentation of config fields, read from the docstring under each field."""

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import get_type_hints


def attribute_docstrings(schema: type) -> dict[str, str]:
    """Return field name -> docstring for one dataclass, base classes included, each on one line."""
    documented: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if is_dataclass(base):
            documented |= _own_docstrings(base)
    return documented


def dotted_fields(schema: type, prefix: str = "") -> dict[str, str]:
    """Return dotted field name -> docstring for a tree of nested dataclasses, in order."""
    documentation, hints = attribute_docstrings(schema), get_type_hints(schema)
    result: dict[str, str] = {}
    for field in fields(schema):
        name = prefix + field.name
        result[name] = documentation.get(field.name, "")
        if isinstance(hints[field.name], type) and is_dataclass(hints[field.name]):
            result |= dotted_fields(hints[field.name], f"{name}.")
    return result


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
