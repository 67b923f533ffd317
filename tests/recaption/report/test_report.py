"""The page of a run: its counts reconcile, its pictures are there, and captions on it are text and nothing else."""

import base64
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from recaption.inputs.opening import open_units
from recaption.job.folder import open_job
from recaption.job.marks import finish_unit
from recaption.job.reopening import finished_of
from recaption.quality.rates import measure_rows
from recaption.report.config import ReportConfig
from recaption.report.facts import gather
from recaption.report.shown import CHARACTERS_MAX, shown, shown_in_markdown
from recaption.report.verbs import report
from runtime.errors import UserError
from tests.recaption.job.made_jobs import config_of, sidecar_rows, write_shards

HOSTILE = '</p><script>alert("x")</script><img src=x onerror=y>`a`|b|[c](javascript:d) "e" & \u202eevil'
LOOP = "A cup on a table. " * 5
RICH = {
    "00001000": {"re_caption": HOSTILE, "flags": ["special_tokens", "refusal"], "mean_logprob": -3.0},
    "00001001": {
        "re_caption": "The image shows a red cup on a table.",
        "clean_caption": "A red cup on a table.",
        "first_caption": LOOP,
        "repairs": ["first: repetition_loop", "sampled: clean"],
        "flags": ["boilerplate_opening"],
        "org_clip_score": 0.21,
        "re_clip_score": 0.31,
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of three shards of five rows, one of each failed."""
    root = tmp_path_factory.mktemp("report")
    write_shards(root / "shards", 3)
    job = open_job(config_of(root))
    for unit in open_units(config_of(root)):
        rows = []
        for place, row in enumerate(sidecar_rows(unit, job.manifest.captioner_id, job.manifest.prompt_id)):
            rich = RICH.get(f"{unit.name}{place:03d}", {})
            rows.append({"flags": [], "repairs": [], "mean_logprob": -0.1, "org_caption": HOSTILE, **row, **rich})
        facts = {"rates": asdict(measure_rows(rows))}
        seconds = {"captioning": 2.0}
        finish_unit(
            job.folder,
            unit,
            rows,
            manifest_sha256=job.manifest.sha256,
            wall_seconds=4.0,
            stage_seconds=seconds,
            more_facts=facts,
        )
    job.finish()
    job.lock.close()
    return root / "side"


class Tags(HTMLParser):
    """Gathers the tags of a page, and the text within."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    report(ReportConfig(recaptions=finished, pictures=4, worst=3))
    return (finished / "job" / "report" / "report.html").read_text()


def test_the_page_holds_everything_and_fetches_nothing(page: str) -> None:
    tags = Tags(page).tags
    pictures = [attributes["src"] or "" for tag, attributes in tags if tag == "img"]
    assert len(pictures) == 4 + 3 and all(src.startswith("data:image/jpeg;base64,") for src in pictures)
    assert base64.b64decode(pictures[0].split(",")[1])[:2] == b"\xff\xd8"
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)


def test_hostile_captions_are_text(page: str) -> None:
    assert '<script>alert("x")</script>' in Tags(page).text and "\u202e" not in page
    markdown = shown_in_markdown(HOSTILE)
    assert "<" not in markdown and "\\`a\\`" in markdown and "\\[c\\]\\(javascript" in markdown


def test_counts_reconcile_and_flags_are_of_all_rows(finished: Path, page: str) -> None:
    facts = gather(ReportConfig(recaptions=finished))
    assert facts.totals.statuses == {"failed_to_download": 3, "success": 12} and facts.num_unaccounted == 0
    markdown = (finished / "job" / "report" / "report.md").read_text()
    assert re.search(r"\| all rows of finished units \| +15 \|", markdown)
    assert "Every row has a status: the counts reconcile." in markdown
    assert re.search(r"\| refusal +\| defect \| +1 \| +8.33 % \|", markdown)
    assert re.search(r"\| boilerplate\\_opening \| note +\| +1 \| +8.33 % \|", markdown)
    assert "Asked again: 1 of these rows, of which 1 are clean now." in markdown
    assert re.search(r"\| failed\\_to\\_download +\| +3 \| +20.00 % \|", markdown)
    assert re.search(r"\| captioning \| +6.0 \| +50 \|", markdown)


def test_worst_rows_come_first_with_their_names(finished: Path, page: str) -> None:
    worst = gather(ReportConfig(recaptions=finished, worst=2)).worst
    assert worst[0].columns["re_caption"] == HOSTILE and worst[1].flags == ("boilerplate_opening",)
    text = Tags(page).text
    assert f"{worst[0].unit} / {worst[0].columns['key']}" in text
    for told in ("said first", "asked again", "first: repetition_loop; sampled: clean", "0.210", "0.310"):
        assert told in text


def test_without_its_pictures_a_run_has_its_page_all_the_same(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ReportConfig(recaptions=finished, output_dir=tmp_path)
    report(replace(config, input=replace(config.input, shards=str(tmp_path / "nowhere"))))
    page = (tmp_path / "report.html").read_text()
    assert "No pictures: " in page and "nowhere" in page and "<script" not in page
    assert "no pictures" in capsys.readouterr().out


def test_flags_that_a_sidecar_does_not_record_are_found(finished: Path, tmp_path: Path) -> None:
    root = tmp_path
    write_shards(root / "shards", 1)
    job = open_job(config_of(root))
    (unit,) = open_units(config_of(root))
    rows = sidecar_rows(unit, job.manifest.captioner_id, job.manifest.prompt_id)
    rows[0]["re_caption"] = LOOP
    finish_unit(job.folder, unit, rows, manifest_sha256="", wall_seconds=0.0, stage_seconds={})
    job.lock.close()
    facts = gather(ReportConfig(recaptions=root / "side"))
    report(ReportConfig(recaptions=root / "side", output_dir=tmp_path / "page"))
    assert re.search(r"\| mean length in words +\| +\d", (tmp_path / "page" / "report.md").read_text())
    assert facts.rates.flags == {"repetition_loop": 1} and facts.worst[0].columns["re_caption"] == LOOP
    assert finished_of(root / "side") == ["00000"] and not facts.done


def test_long_texts_are_cut_after_a_word() -> None:
    assert len(shown("word " * 1000)) <= CHARACTERS_MAX + 2 and shown("word " * 1000).endswith("word …")


def test_a_folder_without_captions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished captions"):
        report(ReportConfig(recaptions=tmp_path))
    with pytest.raises(UserError, match="rows_max"):
        ReportConfig(recaptions=tmp_path, rows_max=0)
