"""Locations: a URL that can't be opened is named, with what it lacks."""

import sys
from collections.abc import Callable

import pytest

from imagetext import files
from runtime.errors import UserError

READERS = [files.open_binary, files.read_bytes, files.exists, files.list_names]


@pytest.mark.parametrize("reader", READERS)
def test_an_unknown_protocol_is_named(reader: Callable[[str], object]) -> None:
    with pytest.raises(UserError) as refusal:
        reader("s4://bucket/web")
    assert str(refusal.value) == (
        "s4://bucket/web: URL can't be opened: found Protocol not known: s4, wanted a protocol of fsspec. "
        "Check the part before ://"
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("url", ["s3://bucket/web", "simplecache::s3://bucket/web"])
def test_a_missing_package_is_named(reader: Callable[[str], object], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError) as refusal:
        reader(url)
    assert str(refusal.value) == (f"{url}: URL needs a package that is not installed: found no s3fs. Install s3fs")
