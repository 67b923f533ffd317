"""What a microbatch holds: the same however its samples are laid out."""

import numpy as np
import pytest

from imagetext.conversations import IGNORED_LABEL
from llava_train.batch import RenderedSample, collate
from llava_train.compute import CaptionerCost, Content
from llava_train.config import PhaseConfig
from llava_train.phases import freeze
from llava_train.workload import Workload
from runtime.loop_config import LoopConfig
from tests.llava_train.shapes import IMAGE_ID, PAD_ID, TOKENS_PER_IMAGE, small_llava


def sample(num_text: int, num_answer: int, *, has_image: bool) -> RenderedSample:
    ids = [5, *([IMAGE_ID] * TOKENS_PER_IMAGE if has_image else []), *range(6, 5 + num_text)]
    labels = [IGNORED_LABEL] * (len(ids) - num_answer) + ids[len(ids) - num_answer :]
    image = np.zeros((3, 16, 16), dtype=np.uint8) if has_image else None
    return RenderedSample(key="k", input_ids=ids, labels=labels, image=image)


SAMPLES = [sample(9, 3, has_image=True), sample(4, 2, has_image=False), sample(17, 6, has_image=True)]


def cost_of_alignment() -> CaptionerCost:
    llava = small_llava()
    loop = LoopConfig(num_updates=1, batch_size=1, learning_rate=1.0)
    freeze(llava, PhaseConfig(conversations=["none"], trainable=["projector"], loop=loop))
    return CaptionerCost(llava)


@pytest.mark.parametrize("max_row_tokens", [None, 64], ids=["rows", "packed"])
def test_padding_and_packing_change_no_count(max_row_tokens: int | None) -> None:
    cost = cost_of_alignment()
    held = Workload(cost, pad_id=PAD_ID, image_id=IMAGE_ID)(collate(SAMPLES, PAD_ID, max_row_tokens=max_row_tokens))
    assert held["tokens"] == 9 + 4 + 4 + 17 + 4
    assert held["supervised_tokens"] == 3 + 2 + 6
    assert held["images"] == 2
    contents = [Content.of_sample(13, 3, 1), Content.of_sample(4, 2, 0), Content.of_sample(21, 6, 1)]
    assert held["flops"] == sum(cost.of(content).total for content in contents)


def test_an_empty_microbatch_holds_nothing() -> None:
    held = Workload(cost_of_alignment(), pad_id=PAD_ID, image_id=IMAGE_ID)(collate([], PAD_ID))
    assert set(held.values()) == {0}
