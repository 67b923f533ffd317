"""`python -m recaption report RUN`."""

from recaption.job.manifest import MANIFEST
from recaption.report.config import ReportConfig
from recaption.report.facts import gather
from recaption.report.page import as_markdown, build_page
from recaption.report.pictures import before_and_after, worst_cards
from runtime.atomic import make_folder, write_text
from runtime.errors import UserError
from runtime.html import Card


def report(config: ReportConfig) -> None:
    """Write the page of a run and say where it is; pictures that can't be found are missing on it, and it says so."""
    facts = gather(config)
    folder = config.output_dir or config.recaptions / MANIFEST.parent / "report"
    drawn: list[Card] = []
    worst: list[Card] = []
    lack = ""
    try:
        drawn, worst = before_and_after(config) if config.pictures else [], worst_cards(config, facts.worst)
    except (UserError, OSError) as error:
        lack = str(error)
    make_folder(folder)
    build_page(config, facts, drawn, worst, lack).write(folder / "report.html")
    write_text(folder / "report.md", as_markdown(config, facts))
    pictures = f"{len(drawn)} pictures" if not lack else f"no pictures ({lack})"
    print(f"{folder / 'report.html'} and report.md: {facts.totals.num_rows} rows, {pictures}")
