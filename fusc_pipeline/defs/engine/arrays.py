"""Tables of the store as arrays, and arrays as tables: the seam between assets and the array-only domain packages."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.schemas import CLUSTERS
from fusc_pipeline.base.views import VIEWS

LARGEST_SLIP = 1e-3  # of a row's sum from 1, in float32 or bf16


def embedding_arrays(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids (N,), splits (N,), vectors (N, d) float32 of an embeddings table."""
    flat = table.column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    ids = np.array(table.column("image_id").to_pylist())
    return ids, np.array(table.column("split").to_pylist()), flat.reshape(len(ids), -1).astype(np.float32)


def label_numbers(corpus: pa.Table, ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """(N,) int64: each image's place of its view in VIEWS, -1 without a label."""
    number = {view: i for i, view in enumerate(VIEWS)}
    of_image = dict(zip(corpus.column("image_id").to_pylist(), corpus.column("view").to_pylist(), strict=True))
    return np.array([number.get(of_image[i], -1) for i in ids], np.int64)


def neighbor_rows(table: pa.Table, train_ids: Sequence[str]) -> np.ndarray:
    """(N, k) int64: for each train image, the places of its neighbours among the train images."""
    of_image = dict(zip(table.column("image_id").to_pylist(), table.column("neighbor_ids").to_pylist(), strict=True))
    place = {image_id: i for i, image_id in enumerate(train_ids)}
    return np.array([[place[n] for n in of_image[i]] for i in train_ids], np.int64)


def cluster_rows(
    ids: Sequence[str] | np.ndarray,
    splits: Sequence[str] | np.ndarray,
    probabilities: np.ndarray,
    n_clusters: int,
    seed: int,
) -> pa.Table:
    """One fit's rows of `schemas.CLUSTERS` from its probabilities (N, K).

    Raises BadInput where they are no probabilities: not finite, below 0, or not summing to one.
    """
    sums = probabilities.sum(1, dtype=np.float64)
    bad = int((~(np.abs(sums - 1) <= LARGEST_SLIP) | ~(probabilities.min(1) >= -LARGEST_SLIP)).sum())
    if bad:
        raise BadInput(
            f"K {n_clusters}, seed {seed}: for {bad} of {len(ids)} images the model gives no probabilities (not "
            "finite, or not summing to one): the training diverged; lower its learning rate, then run again"
        )
    return pa.table(
        {
            "image_id": pa.array(list(ids)),
            "split": pa.array(list(splits)),
            "n_clusters": pa.array([n_clusters] * len(ids), pa.int32()),
            "seed": pa.array([seed] * len(ids), pa.int32()),
            "cluster": pa.array(probabilities.argmax(1), pa.int32()),
            "confidence": pa.array(probabilities.max(1), pa.float32()),
        },
        schema=CLUSTERS,
    )
