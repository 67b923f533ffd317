"""From GenEval's results to the finished suite folder of a run."""

import hashlib
from pathlib import Path

from eval.config import GenEvalConfig
from eval.geneval.prompts import read_prompts
from eval.geneval.results import read_judged
from eval.geneval.scores import by_rules, measurements, protocol_of
from eval.runs import finished_run, published_subject
from eval.suite import run_suite


def take_over(config: GenEvalConfig) -> None:
    """Write rows of what GenEval found in a run's pictures; print how often the rules judge otherwise."""
    run = finished_run(config.run)
    prompts = read_prompts(config.prompts)
    recorded = read_judged(config.results, prompts, config.pictures_per_prompt)
    anew = by_rules(prompts, recorded)
    others = sum(one.is_right != two.is_right for one, two in zip(recorded, anew, strict=True))
    print(f"{config.results}: {others} of {len(recorded)} pictures are judged otherwise by the published rules")
    judged = recorded if config.mode == "recorded" else anew
    protocol = protocol_of(prompts, config.pictures_per_prompt, config.mode)
    subject = published_subject(run, _sha256(config.prompts)[:16])
    settings = (_sha256(config.results), config.mode, config.bootstrap_replicates)
    run_suite(
        config.output_dir / "geneval",
        subject,
        settings,
        lambda: measurements(prompts, judged, protocol, config.bootstrap_replicates),
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
