"""Exact nearest neighbours by cosine similarity. Which vectors to search, and what to do with them, is the caller's."""

from collections.abc import Sequence

import faiss
import numpy as np

from fusc_pipeline.base.errors import BadInput, BadSetting


def nearest_neighbors(
    train: np.ndarray,
    train_ids: Sequence[str] | np.ndarray,
    queries: np.ndarray,
    query_ids: Sequence[str] | np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The k train vectors most similar to each query, never the query itself.

    train (N, d), queries (M, d): L2-normalised float32, as the inner product is taken for the cosine.
    → indices into train (M, k') int64 and similarities (M, k') float32, most similar first. A query is excluded by its
    identity, not by taking the first column away: a duplicate image may come before it. k' is k, or what is left once
    the query is excluded, whichever is smaller. Ties are ordered by index.
    """
    train, queries = _vectors("train", train, train_ids), _vectors("queries", queries, query_ids)
    if k < 1:
        raise BadSetting(f"the number of neighbours is {k}; it must be at least 1")
    if train.shape[1] != queries.shape[1]:
        raise BadInput(f"train vectors have {train.shape[1]} dimensions, queries {queries.shape[1]}")
    row_of = {identity: row for row, identity in enumerate(train_ids)}
    if len(row_of) != len(train_ids):
        raise BadInput("an image_id is given twice among the train vectors; drop duplicates first")
    own_row = np.array([row_of.get(identity, -1) for identity in query_ids], np.int64)
    available = len(train) - int((own_row >= 0).any())
    if available < 1:
        raise BadSetting(f"{len(train)} train vectors leave a query without any neighbour; add frames")
    k = min(k, available)
    similarities, indices = faiss.knn(queries, train, min(k + 1, len(train)), metric=faiss.METRIC_INNER_PRODUCT)
    # Drop the query's own row, or, where the search did not return it, the last one.
    is_self = indices == own_row[:, None]
    drop_last = ~is_self.any(axis=1)
    is_self[drop_last, k:] = True
    keep = ~is_self
    indices, similarities = indices[keep].reshape(len(queries), k), similarities[keep].reshape(len(queries), k)
    order = np.lexsort((indices, -similarities), axis=1)
    return np.take_along_axis(indices, order, 1), np.take_along_axis(similarities, order, 1)


def neighbor_purity(indices: np.ndarray, train_labels: np.ndarray, query_labels: np.ndarray) -> float:
    """Share of neighbours with the query's label: what a consistency loss can at best build on.

    indices (M, k) into train_labels (N,); -1 marks an unlabelled image, left out on both sides. NaN without any pair.
    """
    found = np.asarray(train_labels)[indices]
    wanted = np.asarray(query_labels)[:, None]
    counted = (found >= 0) & (wanted >= 0)
    return float(((found == wanted) & counted).sum() / counted.sum()) if counted.any() else float("nan")


def knn_accuracy(
    indices: np.ndarray,
    similarities: np.ndarray,
    train_labels: np.ndarray,
    query_labels: np.ndarray,
    temperature: float = 0.07,
) -> float:
    """Share of queries whose neighbours vote for their label, each vote weighing exp(similarity / temperature): the
    usual measure of an encoder without training anything on it (Wu et al. 2018; DINO takes 20 neighbours and 0.07).

    indices, similarities (M, k) into train_labels (N,); -1 marks an unlabelled image: it has no vote, and is no query.
    NaN without a query that has a labelled neighbour.
    """
    votes = np.asarray(train_labels)[indices]
    wanted = np.asarray(query_labels)
    asked = (wanted >= 0) & (votes >= 0).any(axis=1)
    if not asked.any():
        return float("nan")
    weights = np.exp((similarities[asked] - similarities[asked].max(axis=1, keepdims=True)) / temperature)
    tally = np.zeros((int(asked.sum()), int(max(votes.max(), wanted.max())) + 1))
    rows, columns = np.nonzero(votes[asked] >= 0)
    np.add.at(tally, (rows, votes[asked][rows, columns]), weights[rows, columns])
    return float((tally.argmax(axis=1) == wanted[asked]).mean())


def _vectors(name: str, vectors: np.ndarray, ids: Sequence[str] | np.ndarray) -> np.ndarray:
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise BadInput(f"{name}: {vectors.shape} vectors for {len(ids)} ids; give one row per id")
    if len(vectors) == 0:
        raise BadInput(f"{name}: there is no vector; embed some images first")
    if not np.isfinite(vectors).all():
        raise BadInput(
            f"{name}: a vector holds NaN or infinity; the encoder diverged, train it with a lower learning rate"
        )
    return vectors
