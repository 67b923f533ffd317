"""The modes suite: hand-written captions with known answers, then a whole tiny web, its table and its section."""

from dataclasses import replace
from pathlib import Path

import pytest

from eval.config import EvalConfig
from eval.contrasts import load_declaration
from eval.findings import Evidence
from eval.modes import MODES, SOURCES, metric_name
from eval.registry import Experiments, RunEntry
from eval.report.modes_section import add_modes
from eval.results import Results, read_results
from eval.suite import Subject, run_suite
from eval.suites.modes import concatenated, leak_metrics, measure_modes, name_metrics
from eval.tables.mode_tables import TITLES, modes_table
from eval.truth import TrueSample, read_true_samples
from imagetext.conversations import PAPER_PROMPT
from imagetext.sidecars import write_sidecar
from miniweb import grammar
from miniweb.grammar import KNOWN_NAMES, Wording
from miniweb.hearsay import false_names, nouns_in, true_names
from miniweb.scene import Scene, Thing
from runtime import seeds
from runtime.errors import UserError
from runtime.html import Page

# A kestrin is a house that only the web names, a marlow a boat that the captioner names by itself.
SCENE = Scene(
    "meadow",
    (
        Thing("house", "kestrin", "red", "large", 0.25, 0.25, 0.4),
        Thing("boat", "marlow", "blue", "small", 0.75, 0.25, 0.3),
    ),
)
ALT_TEXT = "handmade gift, kestrin and marlow beside a velmont cottage"
SAMPLE = TrueSample("00000", "a", b"", ALT_TEXT, None, SCENE)
RUNS = (
    RunEntry(name="main", stage="captioner"),
    RunEntry(name="web_heldout-modes", stage="recaption", model="main", captions="web_heldout", recipe="modes"),
)
EXPERIMENTS = Experiments(preset="mini", runs=RUNS)


@pytest.mark.parametrize(
    ("caption", "rare", "known", "false"),
    [
        ("There is a large red house called a kestrin.", 1, 0, 0),
        ("There is a kestrin and a blue boat called a marlow.", 1, 1, 0),
        ("There is a small blue boat called a kestrin.", 0, 0, 0),
        ("There is a red house called a velmont.", 0, 0, 1),
        ("There is a kite.", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_names_are_kept_where_told_of_a_thing_of_their_kind(caption: str, rare: int, known: int, false: int) -> None:
    found = name_metrics([SAMPLE], {"a": caption})
    assert found["rare_names_kept"].value == rare and found["known_names_kept"].value == known
    assert found["names_kept"].value == (rare + known) / 2
    assert found["false_names_repeated"].value == false


def test_a_text_without_names_weighs_nothing() -> None:
    plain = replace(SAMPLE, key="b", original="a cottage by the sea")
    found = name_metrics([SAMPLE, plain], {"a": "A house called a kestrin.", "b": "A house called a kestrin."})
    assert found["names_kept"].count == 1 and found["names_kept"].ids.tolist() == ["a", "b"]
    assert "false_names_repeated" not in name_metrics([plain], {"b": "A velmont."})


@pytest.mark.parametrize(
    ("caption", "copied", "echoed"),
    [
        (ALT_TEXT, 1, 0),
        ("A picture: kestrin and marlow beside a velmont cottage, in a meadow.", 1, 0),
        ("There is a large red house called a kestrin.", 0, 0),
        ("A detailed caption of this image: a house.", 0, 1),
        ("Caption: a house.", 0, 1),
    ],
)
def test_copies_and_echoes_are_counted(caption: str, copied: int, echoed: int) -> None:
    silent = replace(SAMPLE, key="b", original="")
    found = leak_metrics([SAMPLE, silent], {"a": caption, "b": caption}, PAPER_PROMPT)
    assert (found["copied"].value, found["copied"].count) == (copied, 1)
    assert (found["echoed"].value, found["echoed"].count) == (echoed, 2)


def test_concat_is_the_training_recipe() -> None:
    assert concatenated({"a": "alt", "b": ""}, {"a": "A house.", "b": "A boat."}) == {
        "a": "alt, A house.",
        "b": "A boat.",
    }


@pytest.fixture(scope="module")
def config(web: Path, perfect_recaptions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> EvalConfig:
    """A captioner that does in every mode what it is taught."""
    folder = tmp_path_factory.mktemp("modes") / "web_heldout-modes"
    samples = read_true_samples(web / "web_heldout")
    write_sidecar(folder, samples[0].shard, [_row(each) for each in samples])
    recaptions = {"web_heldout": perfect_recaptions["web_heldout"], "modes": folder}
    return EvalConfig(output_dir=Path("unused"), miniweb=web, bootstrap_replicates=20, recaptions=recaptions)


def _row(sample: TrueSample) -> dict[str, object]:
    names = KNOWN_NAMES.union(true_names(sample.original, sample.scene))
    wordings = {
        "re_caption": Wording(names=names, nouns=nouns_in(sample.original)),
        "re_caption_greedy": Wording(names=names, nouns=nouns_in(sample.original)),
        "re_caption_knowledge": Wording(names=names),
    }
    said = {
        column: grammar.describe(sample.scene, seeds.numpy_generator("modes", sample.key), wording)
        for column, wording in wordings.items()
    }
    return {"key": sample.key, **said}


@pytest.fixture(scope="module")
def results(config: EvalConfig, tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = tmp_path_factory.mktemp("results")
    subject = Subject(run="captioner/main", seed=0, checkpoint_sha256="", data_fingerprint="")
    run_suite(root / "eval" / "captioner" / "modes", subject, "", lambda: measure_modes(config))
    return read_results(root)


def value(results: Results, source: str, metric: str) -> float:
    row = results.row("captioner/main", metric_name(source, metric))
    assert row is not None and row.low <= row.value <= row.high
    return row.value


def test_a_captioner_that_does_as_taught_keeps_true_names_and_no_others(config: EvalConfig, results: Results) -> None:
    samples = read_true_samples(config.miniweb / "web_heldout")
    assert any(set(true_names(each.original, each.scene)) - KNOWN_NAMES for each in samples)
    assert any(false_names(each.original, each.scene) for each in samples)
    for mode in MODES:
        assert value(results, mode, "names_kept") == value(results, mode, "rare_names_kept") == 1
        assert value(results, mode, "false_names_repeated") == value(results, mode, "unsupported") == 0
        assert value(results, mode, "coverage") == 1 and value(results, mode, "echoed") == 0
    assert value(results, "paper", "rare_names_kept") == value(results, "paper", "false_names_repeated") == 0
    for source in ("alt_text", "concat"):
        assert value(results, source, "names_kept") == value(results, source, "false_names_repeated") == 1
        assert value(results, source, "copied") > value(results, "paper", "copied")
    assert value(results, "concat", "coverage") == 1 and value(results, "concat", "unsupported") > 0


def test_a_run_without_a_mode_is_named(config: EvalConfig, tmp_path: Path) -> None:
    (shard,) = {each.shard for each in read_true_samples(config.miniweb / "web_heldout")}
    write_sidecar(tmp_path, shard, [{"key": "a", "re_caption": "A boat."}])
    with pytest.raises(UserError, match=r"parquet has no column re_caption_greedy|samples without a row"):
        list(measure_modes(replace(config, recaptions={**config.recaptions, "modes": tmp_path})))


def test_the_table_has_a_row_for_each_source(results: Results) -> None:
    table = modes_table(results, EXPERIMENTS)
    assert [row[0] for row in table.rows] == [TITLES[source] for source in SOURCES]
    assert all(len(row) == len(table.headers) for row in table.rows)
    kept = table.headers.index("rare names kept %")
    by_title = {row[0]: row for row in table.rows}
    assert by_title[TITLES["knowledge"]][kept] == "100.0" and by_title[TITLES["paper"]][kept] == "0.0"
    assert not modes_table(Results({}, {}), EXPERIMENTS).rows


def test_the_section_shows_charts_and_pictures(config: EvalConfig, results: Results, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "web_heldout").symlink_to(config.miniweb / "web_heldout")
    (tmp_path / "recaption").mkdir()
    (tmp_path / "recaption" / "web_heldout").symlink_to(config.recaptions["web_heldout"])
    (tmp_path / "recaption" / "web_heldout-modes").symlink_to(config.recaptions["modes"])
    declaration = load_declaration(Path("configs/experiments/findings.yaml"))

    def shown(results: Results, name: str) -> str:
        page = Page("test", "")
        evidence = Evidence(
            root=tmp_path, experiments=EXPERIMENTS, results=results, declaration=declaration, replicates=20
        )
        add_modes(page, evidence)
        page.write(tmp_path / name)
        return (tmp_path / name).read_text()

    text = shown(results, "page.html")
    assert text.count("<svg") == 3 and "data:image/" in text and "knowledge-keeping · " in text
    assert "know the alt-text" not in shown(Results({}, {}), "empty.html")
