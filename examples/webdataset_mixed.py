"""Read mixed captions in a plain webdataset pipeline.

python examples/webdataset_mixed.py "shards/{00000..00099}.tar" RECAPTIONS ORIGINAL_SHARE
"""

import sys

import webdataset

from imagetext.mix import CaptionMixConfig
from imagetext.mixed_samples import MixCaptions

if __name__ == "__main__":
    shards, recaptions, share = sys.argv[1:]
    captions = MixCaptions({"recaption": recaptions}, CaptionMixConfig(original_share=float(share)), seed=0)
    pipeline = webdataset.DataPipeline(
        webdataset.SimpleShardList(shards),
        webdataset.split_by_worker,
        webdataset.tarfile_to_samples(),
        captions,
        webdataset.to_tuple("__key__", "txt"),
    )
    for key, caption in pipeline:
        print(key, caption.decode(), sep="\t")
