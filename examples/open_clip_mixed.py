"""Train open_clip on mixed captions: its own trainer and options, and five lines.

    python examples/open_clip_mixed.py RECAPTIONS ORIGINAL_SHARE --train-data "shards/{00000..00099}.tar" \
        --dataset-type webdataset --train-num-samples 1000000 --model ViT-B-16 --batch-size 256 --epochs 5

RECAPTIONS is a folder of caption sidecars, as `python -m recaption run` writes them beside the shards.
"""

import sys

import open_clip_train.data
import webdataset
from open_clip_train.main import main

from imagetext.mix import CaptionMixConfig
from imagetext.mixed_samples import MixCaptions

if __name__ == "__main__":
    recaptions, share, *arguments = sys.argv[1:]
    captions = MixCaptions({"recaption": recaptions}, CaptionMixConfig(original_share=float(share)), seed=0)
    # Its own reader of tars stumbles over webdataset 1; webdataset's does the same in both.
    read_tars = webdataset.tarfile_to_samples(handler=open_clip_train.data.log_and_continue)
    open_clip_train.data.tarfile_to_samples_nothrow = lambda shards: captions(read_tars(shards))
    main(arguments)
