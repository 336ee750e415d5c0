"""k-NN accuracy while an encoder trains: labels watch the training, they do not steer it. Torch when it is called."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

KNN = 20  # neighbours that vote, as DINO's authors have it


def knn_monitor(
    pixels: np.ndarray,
    ids: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    rows: tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray],
    epochs: tuple[int, int],
    compute: Any,
) -> Callable[[int, Any], dict[str, float]] | None:
    """(epoch, backbone) → {"knn_accuracy": …} every few epochs and after the last; None where there is nothing to ask.

    pixels (N, S, S) with their ids and labels (−1: none); rows: of the images that vote and of those that are asked;
    epochs: (between two measurements, 0 for never; in all).
    """
    from fusc_pipeline.representation.backbones import embed
    from fusc_pipeline.representation.neighbors import knn_accuracy, nearest_neighbors

    every, total = epochs
    train, test = ([row for row in part if labels[row] >= 0] for part in rows)
    if not every or not train or not test:
        return None
    names, both = np.array(ids), [*train, *test]

    def monitor(epoch: int, backbone: Any) -> dict[str, float]:
        if epoch % every and epoch != total:
            return {}
        vectors = embed(backbone, np.asarray(pixels[both]), compute)
        known, asked = vectors[: len(train)], vectors[len(train) :]
        near, similarities = nearest_neighbors(known, names[train], asked, names[test], KNN)
        return {"knn_accuracy": knn_accuracy(near, similarities, labels[train], labels[test])}

    return monitor
