"""How unusual an image is, measured by images that the model never trained on. Arrays only; the search is the caller's.

Distances are 1 − cosine similarity, the mean over an image's k nearest training images. A held-out image's distance is
what an image of the same origin may have; the score of another is the share of them that are nearer: a conformal
p-value turned round (Laxhammar and Falkman 2010), so that 5 % of images like the held-out ones score above 0.95.
"""

from dataclasses import dataclass

import numpy as np

from fusc_pipeline.base.errors import BadInput

NEIGHBOURS = 10  # one near duplicate among them says little of where an image lies
UNUSUAL = 0.95  # score above which an image counts as out of distribution
UNSURE = 0.05  # share of the held-out images that are less sure than an image that just counts as sure


@dataclass(frozen=True)
class Calibration:
    """Of held-out images, each sorted: distances (n,) float32 to the training images, confidences (n,) float32."""

    distances: np.ndarray
    confidences: np.ndarray

    @classmethod
    def of(cls, similarities: np.ndarray, confidences: np.ndarray) -> "Calibration":
        """similarities (n, k) of the held-out images to their nearest training images, and their confidences (n,)."""
        if len(similarities) == 0:
            raise BadInput("the test split is empty, so nothing tells what is unusual; add a batch of another subject")
        return cls(np.sort(distances(similarities)), np.sort(np.asarray(confidences, np.float32)))

    def ood_scores(self, similarities: np.ndarray) -> np.ndarray:
        """(M, k) similarities of any images to their nearest training images → scores (M,) float32, 0 to 1."""
        nearer = np.searchsorted(self.distances, distances(similarities), side="left")
        return (nearer / len(self.distances)).astype(np.float32)

    @property
    def least_sure(self) -> float:
        """The confidence that 5 % of the held-out images are below."""
        return float(np.quantile(self.confidences, UNSURE))


def distances(similarities: np.ndarray) -> np.ndarray:
    """(M, k) cosine similarities → (M,) float32 mean distances, 0 to 2."""
    return (1.0 - np.asarray(similarities, np.float64).mean(axis=1)).astype(np.float32)
