"""Config parsing: what is accepted, what is refused, and in which words."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import config
from runtime.errors import UserError
from runtime.field_docs import dotted_fields
from runtime.loop_config import LoopConfig


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part."""

    name: str
    """What it is called."""
    num_updates: int = 3
    """How long it takes."""


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A nested part."""

    width: int
    """How wide, in pixels,
    over two lines."""
    rate: float = 1e-3
    """How fast."""
    kind: Literal["square", "round"] = "square"
    """Which."""

    def __post_init__(self):
        if self.width < 1:
            raise UserError("out of range", where="width", found=self.width, wanted="1 or more")


@dataclass(frozen=True, kw_only=True)
class Extra:
    """A part that may be left out."""

    height: int = 1
    """How high."""

    def __post_init__(self):
        if self.height < 1:
            raise UserError("out of range", where="height", found=self.height, wanted="1 or more")


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Everything."""

    output_dir: Path
    """Where results go."""
    inner: Inner
    """The nested part."""
    shares: dict[str, float] = field(default_factory=lambda: {"recaption": 1.0})
    """Weights by name."""
    names: tuple[str, ...] = ()
    """Some names."""
    limit: int | None = None
    """At most so many."""
    flag: bool = False
    """Yes or no."""
    phases: tuple[Phase, ...] = ()
    """Parts, in order."""
    extra: Extra | None = None
    """More."""

    def __post_init__(self):
        if sum(self.shares.values()) <= 0:
            raise ValueError("shares: all are zero")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("output_dir: out\ninner:\n  width: 3\n  rate: 5e-4\n")
    return path


def load(*files: Path, **kwargs) -> Outer:
    return config.load(Outer, *files, **kwargs)


def test_file_and_overrides(file):
    loaded = load(file, overrides=["--inner.width=7", "--limit", "4", "--shares.original", "0.5", "--flag=true"])
    assert loaded == Outer(
        output_dir=Path("out"),
        inner=Inner(width=7, rate=5e-4),
        limit=4,
        shares={"recaption": 1.0, "original": 0.5},
        flag=True,
    )


def test_later_files_win_and_replace_dictionaries(file, tmp_path):
    second = tmp_path / "second.yaml"
    second.write_text(
        "inner:\n  width: 9\nshares:\n  original: 1\nphases:\n- name: one\n- {name: two, num_updates: 5}\n"
    )
    loaded = load(file, second)
    assert loaded.inner == Inner(width=9, rate=5e-4)
    assert loaded.shares == {"original": 1.0}
    assert loaded.phases == (Phase(name="one"), Phase(name="two", num_updates=5))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--inner.widht=3"], "unrecognized arguments: --inner.widht=3. Run with --help to see the accepted fields."),
        (["--inner.wid=3"], "unrecognized arguments: --inner.wid=3. Run with --help to see the accepted fields."),
        (["--inner.width=wide"], "inner.width: wrong value: found wide, wanted int"),
        (["--inner.width=true"], "inner.width: wrong value: found True, wanted int"),
        (["--inner.width=2.5"], "inner.width: wrong value: found 2.5, wanted int"),
        (["--inner.rate=quick"], "inner.rate: wrong value: found quick, wanted float"),
        (["--inner.kind=oval"], "inner.kind: wrong value: found oval, wanted Literal['square', 'round']"),
        (["--limit=few"], "limit: wrong value: found few, wanted int or null"),
        (["--flag=perhaps"], "flag: wrong value: found perhaps, wanted bool"),
        (["--inner.width=0"], "inner.width: out of range: found 0, wanted 1 or more"),
        (["--extra.height=0"], "extra.height: out of range: found 0, wanted 1 or more"),
        (["--shares.recaption=0"], "shares: all are zero"),
        (["stray"], "unrecognized arguments: stray. Run with --help to see the accepted fields."),
    ],
)
def test_bad_flags_are_refused(file, overrides, message):
    with pytest.raises(UserError) as refusal:
        load(file, overrides=overrides)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "output_dir: a\ninner:\n  width: 3\n  width: 4\n",
            "F: key 'width' is given twice: found lines 3 and 4,",
        ),
        (
            "output_dir: a\ninner: {width: 3}\nphases:\n- name: x\n  name: y\n",
            "F: key 'name' is given twice: found",
        ),
        ("output_dir: a\ninner: {widht: 3}\n", "Group 'inner' does not accept option 'widht'."),
        ("output_dir: a\ninner: {width: 3}\ncolour: red\n", "'colour'"),
        ("output_dir: a\ninner: {width: 3}\nphases: [{nam: x}]\n", "Option 'nam' is not accepted"),
        ("inner: {width: 3}\n", "the following arguments are required: output_dir"),
        ("output_dir: [\n", "F: not YAML: while parsing a flow node"),
        ("", "F: config file holds no fields: wanted lines of the form `field: value`"),
        ("- 1\n", "F: config file holds no fields"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        load(path)
    assert message.replace("F", str(path), 1) in str(refusal.value) or message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.yaml: config file not found. Give the path of a YAML file."):
        load(tmp_path / "nowhere.yaml")


def test_the_command_line_ends_in_one_line_and_exit_code_2(file, capsys):
    with pytest.raises(SystemExit) as leaving:
        config.parse(Outer, ["--config", str(file), "--inner.width", "0"], prog="outer", description="")
    assert leaving.value.code == 2
    assert capsys.readouterr().err == "error: inner.width: out of range: found 0, wanted 1 or more\n"


def test_help_shows_the_docstrings_under_the_fields(capsys):
    with pytest.raises(SystemExit) as leaving:
        config.parse(Outer, ["--help"], prog="outer", description="What outer does.")
    shown = " ".join(capsys.readouterr().out.split())
    assert leaving.value.code == 0
    assert "What outer does." in shown
    assert "--inner.width WIDTH How wide, in pixels, over two lines. (required, type: int)" in shown
    assert "--limit LIMIT At most so many. (type: int | null, default: null)" in shown


def test_print_config_reads_back_to_an_equal_config(file, tmp_path, capsys):
    flags = ["--config", str(file), "--phases", "[{name: one}]", "--names", "[a, '1e3']"]
    with pytest.raises(SystemExit):
        config.parse(Outer, [*flags, "--print_config"], prog="outer", description="")
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert load(printed) == config.parse(Outer, flags, prog="outer", description="")


texts = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=12)
floats = st.floats(min_value=1e-12, max_value=1e12, allow_nan=False)
outers = st.builds(
    Outer,
    output_dir=st.sampled_from([Path("a"), Path("/tmp/with space/ü"), Path("1")]),
    inner=st.builds(Inner, width=st.integers(1, 10**9), rate=floats, kind=st.sampled_from(["square", "round"])),
    shares=st.dictionaries(texts.filter(lambda text: "." not in text), floats, min_size=1, max_size=3),
    names=st.lists(texts, max_size=3).map(tuple),
    limit=st.none() | st.integers(-5, 5),
    flag=st.booleans(),
    phases=st.lists(st.builds(Phase, name=texts, num_updates=st.integers()), max_size=2).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(outers)
def test_yaml_reads_back_to_an_equal_config(tmp_path_factory, outer):
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_text(config.to_yaml(outer))
    assert load(path) == outer


def test_every_field_of_the_loop_is_documented():
    assert all(dotted_fields(LoopConfig).values())
    assert list(dotted_fields(Outer))[:3] == ["output_dir", "inner", "inner.width"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_updates": 0}, "num_updates: out of range: found 0, wanted 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate: out of range: found 0.0, wanted more than 0"),
        ({"warmup_updates": 11}, "warmup_updates: out of range: found 11, wanted 0 to num_updates 10"),
        ({"microbatch_size": 3}, "microbatch_size: out of range: found 3, wanted a divisor of batch_size 8"),
        ({"ema_decay": 1.0}, "ema_decay: out of range: found 1.0, wanted between 0 and 1, or null"),
        ({"beta2": 1.0}, "beta2: out of range: found 1.0, wanted at least 0 and below 1"),
        ({"max_grad_norm": 0.0}, "max_grad_norm: out of range: found 0.0, wanted more than 0, or null"),
        ({"threads": 0}, "threads: out of range: found 0, wanted 1 or more"),
    ],
)
def test_loop_config_is_checked(changes, message):
    with pytest.raises(UserError) as refusal:
        LoopConfig(**({"num_updates": 10, "batch_size": 8, "learning_rate": 1e-3} | changes))
    assert str(refusal.value) == message
