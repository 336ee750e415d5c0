"""k-means on L2-normalised embeddings: the paper's baseline rows. Fit on train, assign anything (METHODS §1.3)."""

import numpy as np
from sklearn.cluster import KMeans

from fusc_pipeline.base.errors import BadInput, BadSetting


class KMeansClusterer:
    """scikit-learn's k-means++ behind fit / predict / predict_proba on vectors that it normalises itself.

    n_clusters: K, at least 1; n_init: restarts, the one with the lowest inertia is kept; seed: of the restarts.
    After `fit`: `centroids_` (K, d) float32, `variance_`: mean squared distance to the own centroid.
    """

    def __init__(self, n_clusters: int = 15, n_init: int = 10, seed: int = 0):
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.seed = seed

    def fit(self, embeddings: np.ndarray) -> "KMeansClusterer":
        """Find the centroids of (N, d) embeddings; BadSetting when N < K."""
        require_samples(len(embeddings), self.n_clusters)
        if self.n_init < 1:
            raise BadSetting(f"n_init is {self.n_init}; it must be at least 1 (10 or more for a figure to report)")
        model = KMeans(self.n_clusters, n_init=self.n_init, random_state=self.seed)
        model.fit(l2_normalised(embeddings))
        self.centroids_ = model.cluster_centers_.astype(np.float32)
        # Every vector on its centroid would leave 0 / 0 below.
        self.variance_ = max(float(model.inertia_) / len(embeddings), 1e-12)
        return self

    @classmethod
    def of(cls, centroids: np.ndarray, variance: float) -> "KMeansClusterer":
        """A fitted one, from the `centroids_` and the `variance_` that were kept of it."""
        model = cls(len(centroids))
        model.centroids_, model.variance_ = np.asarray(centroids, np.float32), float(variance)
        return model

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """(M, d) → the nearest centroid's number (M,) int64."""
        return self.predict_proba(embeddings).argmax(axis=1)

    def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
        """(M, d) → (M, K) float32, rows sum to 1: soft k-means, softmax(−‖x − c‖² / 2σ²).

        σ² is the training images' mean squared distance to their centroid. It orders images from typical to borderline;
        it is not a calibrated probability, and is cautious: 1/K for a point as far from every centroid.
        """
        if not hasattr(self, "centroids_"):
            raise BadInput("this k-means was not fitted yet; call fit first")
        unit = l2_normalised(embeddings)
        squared = (
            (unit**2).sum(1, keepdims=True) - 2 * unit @ self.centroids_.T + (self.centroids_**2).sum(1)[None]
        ).clip(min=0)
        logits = -squared / (2 * self.variance_)
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def require_samples(n_samples: int, n_clusters: int) -> None:
    """Raise BadSetting when there are fewer images than clusters."""
    if n_clusters < 1:
        raise BadSetting(f"n_clusters is {n_clusters}; it must be at least 1")
    if n_samples < n_clusters:
        raise BadSetting(
            f"{n_clusters} clusters were asked for, but there are only {n_samples} training images; "
            f"set n_clusters to at most {n_samples} or add scans"
        )


def l2_normalised(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; a zero row stays zero."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
