"""Pictures as a web has them: of varied sizes, as JPEG bytes, with an address and an identity."""

from dataclasses import dataclass

from imagetext.shards import ShardRow, make_key
from miniweb.config import MiniwebConfig
from miniweb.draw import encode, render
from miniweb.scene import Scene
from runtime.seeds import derive, numpy_generator


@dataclass(frozen=True)
class Picture:
    """A drawn scene."""

    scene: Scene
    jpeg: bytes
    width_px: int
    height_px: int
    uid: str
    """Identity, 32 hexadecimal digits, as in DataComp."""

    @property
    def url(self) -> str:
        """Where the picture would have been downloaded from."""
        return f"https://images.example/{self.uid[:2]}/{self.uid}.jpg"

    def metadata(self) -> dict[str, object]:
        """Return the fields of the sample's .json, scene included."""
        identity = {"uid": self.uid, "url": self.url, "width": self.width_px, "height": self.height_px}
        return {**identity, "scene": self.scene.to_json()}


def draw_picture(config: MiniwebConfig, scene: Scene, split: str, *position: int) -> Picture:
    """Draw a scene as the split's picture at a position (shard and row, say), its size drawn from the config's."""
    generator = numpy_generator(config.seed, "picture", split, *position)
    width_px, height_px = _size_px(config, generator.random(), generator.random())
    image = render(scene, generator, width_px, height_px)
    halves = (derive(config.seed, "uid", split, *position, half) for half in ("first", "second"))
    return Picture(scene, encode(image), width_px, height_px, "".join(f"{half:016x}" for half in halves))


def shard_row(picture: Picture, shard_index: int, row_index: int, caption: str, **metadata: object) -> ShardRow:
    """Return a picture as a row of a shard."""
    return ShardRow(
        key=make_key(shard_index, row_index),
        image=picture.jpeg,
        caption=caption,
        metadata={**picture.metadata(), **metadata},
    )


def _size_px(config: MiniwebConfig, first: float, second: float) -> tuple[int, int]:
    pictures = config.pictures
    span = pictures.max_longest_side_px - pictures.min_longest_side_px + 1
    longest_px = pictures.min_longest_side_px + int(first * span)
    position = second * sum(pictures.aspect_ratio_shares.values())
    width, height = 1, 1
    for ratio, share in pictures.aspect_ratio_shares.items():
        width, height = (int(side) for side in ratio.split(":"))
        position -= share
        if position < 0:
            break
    scale = longest_px / max(width, height)
    return round(width * scale), round(height * scale)
