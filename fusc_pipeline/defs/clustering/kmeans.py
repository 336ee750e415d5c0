"""K-means on an encoder's embeddings: the baseline rows. The method is `clustering.kmeans`'."""

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from fusc_pipeline.defs.clustering.fits import FitsConfig, Row, fit_each, load_fit
from fusc_pipeline.defs.engine.arrays import cluster_rows, embedding_arrays
from fusc_pipeline.defs.engine.networks import ImagePixels, ModelFiles
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.representation.embeddings import embeddings_of
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    from fusc_pipeline.clustering.kmeans import KMeansClusterer


class KMeansConfig(FitsConfig):
    """K-means on the embeddings."""

    n_init: int = Field(default=10, ge=1, le=100, description="Restarts of k-means++, the tightest is kept.")


def row(encoder: str) -> Row:
    """K-means on one encoder's embeddings (the paper's baseline rows)."""
    name = f"kmeans_{encoder}"

    @stored_asset(
        name=name,
        deps=[f"{encoder}_embeddings"],
        group="clustering",
        kinds={"scikitlearn", "parquet"},
        code_version="2",
        description=f"K-means on L2-normalised {encoder} embeddings: fit on the train split, applied to all.",
    )
    def kmeans(context: Request, config: KMeansConfig, store: Store) -> Work:

        def produce(draft):
            from fusc_pipeline.clustering.kmeans import KMeansClusterer

            config.compute()
            ids, splits, vectors = embedding_arrays(store.table(f"{encoder}_embeddings"))

            def fit(n_clusters, seed):
                model = KMeansClusterer(n_clusters, config.n_init, seed).fit(vectors[splits == "train"])
                rows = cluster_rows(ids, splits, model.predict_proba(vectors), n_clusters, seed)
                return rows, fit_weights(model), []

            fit_each(draft, config.n_clusters, config.seeds, fit)

        return Work(produce, holds=config.holds())

    def predict(store: ModelFiles, compute: Any, n_clusters: int, seed: int, images: ImagePixels) -> np.ndarray:
        model = fitted(load_fit(store, name, n_clusters, seed))
        return model.predict_proba(embeddings_of(store, compute, encoder, images))

    def refit(store: Store, compute: Any, n_clusters: int, seed: int, images: ImagePixels) -> np.ndarray:
        from fusc_pipeline.clustering.kmeans import KMeansClusterer

        _, splits, vectors = embedding_arrays(store.table(f"{encoder}_embeddings"))
        model = KMeansClusterer(n_clusters, store.require(name).config["n_init"], seed).fit(vectors[splits == "train"])
        return model.predict_proba(embeddings_of(store, compute, encoder, images))

    reads = (f"{encoder}_embeddings",)
    return Row(
        kmeans, "kmeans", predict, sees=f"{encoder}_encoder", encoder=encoder, reads=reads, fits_of=name, refit=refit
    )


def fit_weights(model: "KMeansClusterer") -> dict[str, Any]:
    """What is kept of a fitted k-means."""
    import torch

    return {"centroids": torch.from_numpy(model.centroids_), "variance": torch.tensor([model.variance_])}


def fitted(weights: dict[str, Any]) -> "KMeansClusterer":
    """The k-means that `fit_weights` was given."""
    from fusc_pipeline.clustering.kmeans import KMeansClusterer

    return KMeansClusterer.of(weights["centroids"].numpy(), float(weights["variance"]))
