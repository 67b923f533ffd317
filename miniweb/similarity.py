"""A stand-in for CLIP's image-text similarity, by which DataComp's pool was filtered."""

from miniweb import claims
from miniweb.scene import Scene


def similarity(text: str, scene: Scene) -> float:
    """Return how well a text fits a scene: 1 if all its claims are true, -1 if all are wrong, 0 if it makes none."""
    checked = claims.check(claims.parse(text), scene)
    num_false = len(checked.unsupported) + len(checked.void)
    return (len(checked.supported) - num_false) / max(1, checked.num_claims)
