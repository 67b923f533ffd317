"""Whether the data has what a mix asks of it, before anything is read."""

from imagetext.mix_config import CaptionMixConfig, missing_source
from imagetext.stream import DataConfig
from runtime.errors import UserError


def check_mix(mix: CaptionMixConfig, data: DataConfig) -> None:
    """Refuse a mix that needs a caption source which one of the data sets does not have, or a set that is not there.

    Raises:
        UserError: naming source or data set, and what is available.
    """
    names = [shard_set.dataset_name for shard_set in data.shard_sets]
    if unknown := sorted(set(mix.dataset_shares) - set(names)):
        wanted = f"one of {', '.join(names)}"
        raise UserError("dataset_shares names no data set", where="mix", found=unknown[0], wanted=wanted)
    scored = mix.scored_source
    for index, shard_set in enumerate(data.shard_sets):
        field = "data.sidecars" if index == 0 else f"data.further[{index - 1}].sidecars"
        is_scored = scored in shard_set.sidecars
        for source in mix.sources_of_dataset(shard_set.dataset_name, is_scored=is_scored):
            if source not in shard_set.caption_sources:
                raise missing_source(source, shard_set.caption_sources, field)
    if scored is not None and not any(scored in shard_set.sidecars for shard_set in data.shard_sets):
        fix = f"Give its folder as data.sidecars.{scored}, or name another as mix.score_share.source"
        raise UserError("no sidecar has these scores", where="mix.score_share.source", found=scored, fix=fix)
