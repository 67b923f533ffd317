"""The Frechet distance that perfect pictures would show, since there are finitely many.

Two samples of one Gaussian lie apart: of N pictures each in d equal directions by about (d^2/2 + 2.5 d) / N. A distance
near its floor says that no more can be seen, not that pictures are perfect.
"""

import numpy as np
from jaxtyping import Float

from eval.frechet import frechet_from_moments, moments
from runtime.seeds import numpy_generator

DRAWS = 3


def frechet_floor(
    reference: Float[np.ndarray, "others width"], num_pictures: int, draws: int = DRAWS
) -> Float[np.ndarray, " draws"]:
    """Return the distance between samples of `num_pictures` and of the reference's number, both from its Gaussian."""
    widths = np.sqrt(np.clip(np.linalg.eigvalsh(moments(reference).covariance), 0.0, None))
    widths = widths[widths > 0]
    generator = numpy_generator(0, "frechet floor")

    def sample(count: int) -> np.ndarray:
        return generator.standard_normal((count, len(widths))) * widths

    return np.array(
        [frechet_from_moments(moments(sample(num_pictures)), moments(sample(len(reference)))) for _ in range(draws)]
    )
