"""Two models on the same test images: which is better, and how sure that is. Arrays only.

With labels the measure is NMI; without, neighbour agreement beyond chance. Frames of a subject are alike, so the
uncertainty comes from drawing subjects, not frames, and both models are scored on the same draw (paired bootstrap).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEAST_LABELLED = 20  # labelled images below which NMI says too little, and the measure without labels is taken
DRAWS = 1000


@dataclass(frozen=True)
class Comparison:
    """What was found. Values of `measure` are at most 1, higher is better.

    n: images compared; subjects: how many they are of; left_out: test images of subjects that one of the two was
    trained on; differences (draws,): candidate minus in service, for each draw of subjects.
    """

    measure: str
    candidate: float
    in_service: float
    n: int
    subjects: int
    left_out: int
    differences: np.ndarray

    def risk(self, tolerance: float) -> float:
        """Chance, 0 to 1, that the candidate is worse by more than the tolerance."""
        return float((self.differences < -tolerance).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """90 % interval of the difference."""
        low, high = np.quantile(self.differences, (0.05, 0.95))
        return float(low), float(high)


def compare(
    labels: np.ndarray,
    candidate: np.ndarray,
    in_service: np.ndarray,
    agreement: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    subjects: np.ndarray,
    left_out: int = 0,
    seed: int = 0,
) -> Comparison:
    """labels (n,) int64, −1 without one; candidate, in_service: clusters (n,); subjects (n,): any hashable per image;
    agreement: for candidate and in service, (share of the nearest training images in the same cluster (n,), what
    chance gives (n,))."""
    known = labels >= 0
    if known.sum() >= LEAST_LABELLED and len(np.unique(labels[known])) > 1:
        truth, a, b = labels[known], candidate[known], in_service[known]
        return _paired(
            "nmi",
            lambda weights: nmi(truth, a, weights),
            lambda weights: nmi(truth, b, weights),
            subjects[known],
            left_out,
            seed,
        )
    first, second = agreement
    return _paired(
        "neighbour_agreement",
        lambda weights: beyond_chance(*first, weights),
        lambda weights: beyond_chance(*second, weights),
        subjects,
        left_out,
        seed,
    )


def nmi(labels: np.ndarray, clusters: np.ndarray, weights: np.ndarray) -> float:
    """Normalised mutual information (arithmetic mean of the entropies) of images that count `weights` (n,) times."""
    n_clusters = int(clusters.max()) + 1
    table = np.bincount(labels * n_clusters + clusters, weights, (int(labels.max()) + 1) * n_clusters)
    table = table.reshape(-1, n_clusters) / weights.sum()
    rows, columns = table.sum(1), table.sum(0)
    entropies = _entropy(rows) + _entropy(columns)
    return 2 * (entropies - _entropy(table.ravel())) / entropies if entropies > 0 else 1.0


def beyond_chance(agreement: np.ndarray, chance: np.ndarray, weights: np.ndarray) -> float:
    """(agreement − chance) / (1 − chance) over images (n,): 1 where neighbours always share a cluster, 0 where they do
    so by chance only, as under a single cluster."""
    room = float((weights * (1 - chance)).sum())
    return float((weights * (agreement - chance)).sum()) / room if room > 0 else 0.0


def neighbour_agreement(
    clusters: np.ndarray, train_clusters: np.ndarray, near: np.ndarray, n_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """For images with clusters (n,) and nearest training images near (n, k), places in train_clusters: (share of them
    in the image's own cluster (n,), share of all training images in it (n,))."""
    share = np.bincount(train_clusters, minlength=n_clusters) / len(train_clusters)
    return (train_clusters[near] == clusters[:, None]).mean(axis=1), share[clusters]


def _paired(
    measure: str,
    candidate: Callable[[np.ndarray], float],
    in_service: Callable[[np.ndarray], float],
    subjects: np.ndarray,
    left_out: int,
    seed: int,
) -> Comparison:
    _, place = np.unique(subjects, return_inverse=True)
    count = int(place.max(initial=-1)) + 1
    if count == 0:
        return Comparison(measure, float("nan"), float("nan"), 0, 0, left_out, np.zeros(0))
    generator = np.random.default_rng(seed)
    differences = np.empty(DRAWS)
    for draw in range(DRAWS):
        drawn = np.bincount(generator.integers(0, count, count), minlength=count)
        weights = drawn[place].astype(np.float64)
        differences[draw] = candidate(weights) - in_service(weights)
    ones = np.ones(len(place))
    return Comparison(measure, candidate(ones), in_service(ones), len(place), count, left_out, differences)


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
