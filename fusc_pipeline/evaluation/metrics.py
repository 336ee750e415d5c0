"""The figures of one clustering against view labels: purity, NMI, ARI, Hungarian accuracy, macro recall.

Pure functions on arrays. Joining tables by image is in `assignments`, figures per model and seed are in `tables`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from fusc_pipeline.base.views import VIEWS

_PLACE = {view: place for place, view in enumerate(VIEWS)}


@dataclass(frozen=True)
class Scores:
    """The figures of one clustering, named as the columns of `schemas.PURITY`; shares are 0 to 1.

    `n` labelled images were scored and `n_unlabelled` left out of everything but `filled_clusters`. Where no image
    has a label, every figure that needs one is None.
    """

    n: int
    n_unlabelled: int
    cluster_purity: float | None
    nmi: float | None
    ari: float | None
    accuracy: float | None
    macro_recall: float | None
    filled_clusters: int
    majority_share: float | None


def in_view_order(names: Sequence[str]) -> list[str]:
    """Distinct names: the known views in the order of `views.VIEWS`, then any others alphabetically."""
    return sorted(set(names), key=lambda name: (_PLACE.get(name, len(_PLACE)), str(name)))


def has_label(labels: Sequence[str | None]) -> np.ndarray:
    """Boolean mask (n,): True where the label is neither None nor NaN."""
    return ~pd.isna(np.asarray(labels, dtype=object)) if len(labels) else np.zeros(0, bool)


def contingency(labels: ArrayLike, clusters: ArrayLike, n_clusters: int | None = None) -> tuple[np.ndarray, list]:
    """Counts of class c in cluster k, (C, K) int64, and the C classes of its rows.

    Classes are those that occur (in view order). `n_clusters` (K) fixes the columns, so that clusters without an image
    keep theirs; None takes the largest id that occurs. Raises ValueError when a cluster id is outside 0 to K-1.
    """
    labels, clusters = np.asarray(labels), np.asarray(clusters, dtype=np.int64)
    if labels.shape != clusters.shape or labels.ndim != 1:
        raise ValueError(f"labels and clusters must be two vectors of one length, got {labels.shape}, {clusters.shape}")
    n_clusters = n_clusters if n_clusters is not None else int(clusters.max(initial=-1)) + 1
    if clusters.size and not (clusters.min() >= 0 and clusters.max() < n_clusters):
        raise ValueError(f"cluster ids must be 0 to {n_clusters - 1}, got {clusters.min()} to {clusters.max()}")
    classes = in_view_order(labels.tolist())
    row = {name: index for index, name in enumerate(classes)}
    table = np.zeros((len(classes), n_clusters), np.int64)
    np.add.at(table, (np.array([row[name] for name in labels.tolist()], np.int64), clusters), 1)
    return table, classes


def hungarian_match(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The one-to-one matching of classes to clusters that covers most images: (rows, columns), min(C, K) pairs each.

    `table` is the (C, K) contingency table; it may be rectangular. What has no partner stays unmatched.
    """
    return linear_sum_assignment(table, maximize=True)


def cluster_purity(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Cluster purity, 0 to 1: the share of images that show the commonest class of their cluster (paper, equation 3).

    Many clusters may share one class, so it cannot fall when clusters are split: never show it without K.
    """
    table, _ = contingency(labels, clusters)
    return float(table.max(axis=0, initial=0).sum() / table.sum())


def normalized_mutual_information(labels: ArrayLike, clusters: ArrayLike) -> float:
    """NMI, 0 to 1: 2 I(L; C) / (H(L) + H(C)) (paper, equation 2). One class in one cluster counts as 1."""
    return float(normalized_mutual_info_score(labels, clusters, average_method="arithmetic"))


def adjusted_rand_index(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Adjusted Rand index, -0.5 to 1: agreement over pairs of images, 0 for a random one (Hubert & Arabie 1985)."""
    return float(adjusted_rand_score(labels, clusters))


def hungarian_accuracy(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Share of images, 0 to 1, whose cluster is matched to their class, under the best one-to-one matching.

    With more clusters than classes the surplus clusters count as errors; with fewer, the surplus classes do.
    """
    table, _ = contingency(labels, clusters)
    return float(table[hungarian_match(table)].sum() / table.sum())


def macro_recall(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Mean over the classes that occur of the share of the class in its matched cluster, 0 to 1; unmatched: 0.

    The matching is that of `hungarian_accuracy` (it maximises images, not this mean): rare views weigh as much as
    common ones, which purity and accuracy hide.
    """
    table, classes = contingency(labels, clusters)
    rows, columns = hungarian_match(table)
    return float((table[rows, columns] / table.sum(axis=1)[rows]).sum() / len(classes))


def filled_clusters(clusters: ArrayLike) -> int:
    """Number of clusters with at least one image."""
    return int(np.unique(np.asarray(clusters)).size)


def majority_share(labels: ArrayLike) -> float:
    """Share of the commonest class, 0 to 1: the purity that a single cluster has."""
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    return float(counts.max() / counts.sum())


def score(labels: Sequence[str | None], clusters: ArrayLike, n_clusters: int) -> Scores:
    """All figures of one clustering: `labels` (n) view names or None, `clusters` (n) ids 0 to n_clusters-1.

    Raises ValueError when lengths differ or a cluster id is out of range.
    """
    clusters = np.asarray(clusters, dtype=np.int64)
    if len(labels) != len(clusters):
        raise ValueError(f"{len(labels)} labels for {len(clusters)} clusters")
    if clusters.size and not (clusters.min() >= 0 and clusters.max() < n_clusters):
        raise ValueError(f"cluster ids must be 0 to {n_clusters - 1}, got {clusters.min()} to {clusters.max()}")
    known = has_label(labels)
    truth, found = np.asarray(labels, dtype=object)[known].astype(str), clusters[known]
    n = int(known.sum())
    return Scores(
        n=n,
        n_unlabelled=len(clusters) - n,
        cluster_purity=cluster_purity(truth, found) if n else None,
        nmi=normalized_mutual_information(truth, found) if n else None,
        ari=adjusted_rand_index(truth, found) if n else None,
        accuracy=hungarian_accuracy(truth, found) if n else None,
        macro_recall=macro_recall(truth, found) if n else None,
        filled_clusters=filled_clusters(clusters),
        majority_share=majority_share(truth) if n else None,
    )
