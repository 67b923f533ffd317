"""Transforms against torchvision and LLaVA's own processor."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from imagetext import transforms
from imagetext.transforms import (
    CLIP_MEAN_COLOUR,
    center_crop_flip,
    pad_to_square,
    random_crop_box,
    random_resized_crop,
    resize_center_crop,
)
from runtime.seeds import numpy_generator
from tests.imagetext.pictures import picture


@pytest.mark.parametrize("size", [(80, 20), (20, 80), (33, 50), (40, 40)])
def test_pad_to_square_is_llavas(size: tuple[int, int]) -> None:
    """Known code: LLaVA's expand2square, then the resize of CLIP's image processor, pixel by pixel."""
    from transformers import CLIPImageProcessorPil

    image = picture(5, *size)
    side = max(size)
    square = Image.new(image.mode, (side, side), CLIP_MEAN_COLOUR)
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32, do_rescale=False, do_normalize=False)
    theirs = processor(square, return_tensors="np")["pixel_values"][0]
    assert np.array_equal(pad_to_square(image, 32), theirs)


@pytest.mark.parametrize("size", [(80, 20), (20, 80), (33, 50)])
def test_published_processor_pads_as_training_does(size: tuple[int, int]) -> None:
    """What a captioner is saved with: equal pixels, except where torchvision's resize rounds one level away."""
    from transformers import LlavaImageProcessor, LlavaImageProcessorPil

    image = picture(5, *size)
    options = {"do_pad": True, "size": {"shortest_edge": 32}, "crop_size": 32, "do_rescale": False}
    theirs = [
        np.asarray(processor(**options, do_normalize=False)(image, return_tensors="pt")["pixel_values"][0])
        for processor in (LlavaImageProcessorPil, LlavaImageProcessor)
    ]
    ours = pad_to_square(image, 32)
    assert np.array_equal(ours, theirs[0])
    assert np.abs(ours.astype(int) - theirs[1].astype(int)).max() <= 1


def test_pad_to_square_shrinks_what_is_too_long_before_it_pads(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(7, 960, 120)
    whole = pad_to_square(image, 32).astype(int)
    monkeypatch.setattr(transforms, "MAX_PADDED_SIDE_PX", 320)
    sides = []
    monkeypatch.setattr(
        Image, "new", lambda mode, size, fill, new=Image.new: (sides.append(size), new(mode, size, fill))[1]
    )
    shrunk = pad_to_square(image, 32).astype(int)
    assert sides == [(320, 320)]
    assert np.abs(shrunk - whole).mean() < 2


def test_pad_to_square_fills_with_the_clip_mean() -> None:
    pixels = pad_to_square(Image.new("RGB", (64, 16)), 64)
    assert tuple(pixels[:, 0, 0]) == CLIP_MEAN_COLOUR and tuple(pixels[:, 32, 32]) == (0, 0, 0)


@pytest.mark.parametrize("size", [(80, 20), (21, 83), (33, 50), (40, 40), (17, 16)])
def test_resize_center_crop_is_torchvisions(size: tuple[int, int]) -> None:
    image = picture(6, *size)
    interpolation = v2.InterpolationMode.BICUBIC
    theirs = v2.Compose([v2.Resize(32, interpolation), v2.CenterCrop(32), v2.PILToTensor()])(image)
    assert np.array_equal(resize_center_crop(image, 32), theirs.numpy())


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_crop_boxes_lie_inside(width: int, height: int, area_min: float, seed: int) -> None:
    left, top, right, bottom = random_crop_box((width, height), numpy_generator(seed), area_min)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_crop_boxes_keep_area_and_ratio_and_reach_the_edges() -> None:
    boxes = np.array([random_crop_box((200, 160), numpy_generator(i), 0.4) for i in range(2000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    shares = widths * heights / (200 * 160)
    assert shares.min() >= 0.39 and shares.max() > 0.95
    ratios = widths / heights
    assert ratios.min() >= 0.74 and ratios.max() <= 1.35
    assert boxes[:, 0].min() == 0 and boxes[:, 2].max() == 200 and boxes[:, 1].min() == 0 and boxes[:, 3].max() == 160


def test_crop_boxes_are_distributed_as_torchvisions() -> None:
    """Means over 4000 draws; their standard errors are below 0.4 % of the side, five of them are allowed."""
    ours = np.array([random_crop_box((200, 160), numpy_generator("ours", i), 0.4) for i in range(4000)], dtype=float)
    torch.manual_seed(0)
    crop = v2.RandomResizedCrop(8, scale=(0.4, 1.0), ratio=(3 / 4, 4 / 3))
    blank = torch.zeros(3, 160, 200)
    theirs = []
    for _ in range(4000):
        p = crop.make_params([blank])
        theirs.append((p["left"], p["top"], p["left"] + p["width"], p["top"] + p["height"]))
    difference = np.abs(ours.mean(0) - np.array(theirs, dtype=float).mean(0))
    assert (difference < 0.02 * np.array([200, 160, 200, 160])).all()


def test_full_area_square_crop_is_a_plain_resize() -> None:
    image = picture(7, 50, 50)
    crops = [random_resized_crop(image, 16, numpy_generator(i), area_min=1.0) for i in range(30)]
    whole = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert any(np.array_equal(one, whole) for one in crops)


def test_extreme_shapes_fall_back_to_a_central_box() -> None:
    assert random_crop_box((1000, 10), numpy_generator(0), 0.9) == (493, 0, 506, 10)


def test_flip_mirrors_half_and_only_when_asked() -> None:
    image = picture(8, 30, 20)
    plain = resize_center_crop(image, 16)
    drawn = [center_crop_flip(image, 16, numpy_generator(i), flip=True) for i in range(200)]
    mirrored = sum(np.array_equal(one, plain[:, :, ::-1]) for one in drawn)
    assert sum(np.array_equal(one, plain) for one in drawn) == 200 - mirrored
    assert 70 < mirrored < 130  # four standard deviations of a fair coin
    assert np.array_equal(center_crop_flip(image, 16, numpy_generator(1), flip=False), plain)


def test_same_generator_same_pixels() -> None:
    image = picture(9, 60, 40)
    first, again = (random_resized_crop(image, 16, numpy_generator(4, "k")) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, random_resized_crop(image, 16, numpy_generator(4, "l")))
