"""The verb `statistics`: measure, write the page, print it."""

import json

from recaption.statistics.config import StatisticsConfig
from recaption.statistics.measuring import measure
from recaption.statistics.page import as_json, as_markdown
from runtime.atomic import make_folder, write_json, write_text


def statistics(config: StatisticsConfig) -> None:
    """Measure the captions of a run."""
    found = measure(config)
    folder = make_folder(config.output_dir or config.recaptions / "job" / "statistics")
    page, record = as_markdown(config, found), as_json(config, found)
    write_text(folder / "statistics.md", page)
    write_json(folder / "statistics.json", record)
    print(json.dumps(record, indent=2, ensure_ascii=False) if config.json else page)
