"""A stand-in for CLIP's image-text similarity, by which DataComp's pool was filtered."""

from miniweb import claims
from miniweb.scene import Scene


def similarity(text: str, scene: Scene) -> float:
    """Return how well a text fits a scene: 1 for a text whose claims are all true, -1 for all wrong, 0 without claims."""
    checked = claims.check(claims.parse(text), scene)
    num_true, num_false = len(checked.supported), len(checked.unsupported)
    return (num_true - num_false) / max(1, num_true + num_false)
