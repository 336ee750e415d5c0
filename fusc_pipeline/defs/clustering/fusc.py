"""The FUSC clustering step on an encoder. The method is `clustering.fusc`'."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field

from fusc_pipeline.base.settings import default_of, settings_of
from fusc_pipeline.clustering.configs import FuscConfig, FuscTraining
from fusc_pipeline.defs.clustering.fits import FitsConfig, Row, fit_each, load_fit
from fusc_pipeline.defs.engine.arrays import cluster_rows, embedding_arrays, neighbor_rows
from fusc_pipeline.defs.engine.networks import (
    CorpusPixels,
    ImagePixels,
    ModelFiles,
    curves_markdown,
    load_backbone,
    log_device,
)
from fusc_pipeline.defs.engine.progress import Progress
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.representation.embeddings import embeddings_of
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import fit_name


class FuscHeadConfig(FitsConfig, FuscTraining):
    """FUSC's clustering step."""

    epochs: int = default_of(FuscTraining, "epochs", 8)
    batch_size: int = default_of(FuscTraining, "batch_size", 64)
    lr: float = default_of(FuscTraining, "lr", 5e-5)
    head_lr: float = default_of(FuscTraining, "head_lr", 1e-3)
    init: str = default_of(FuscTraining, "init", "kmeans")
    train_backbone: bool = Field(
        default=True,
        description="Fine-tune the whole network (the reference code); false: the head on cached embeddings.",
    )
    rotation_degrees: float = Field(
        default=90.0, ge=0.0, le=180.0, description="Views are turned by up to this; 0 as in the paper."
    )


def row(encoder: str) -> Row:
    """The FUSC clustering step on one encoder."""
    name = f"fusc_{encoder}"

    @stored_asset(
        name=name,
        deps=["corpus", f"{encoder}_encoder", f"{encoder}_embeddings", f"{encoder}_neighbors"],
        group="clustering",
        kinds={"pytorch", "parquet"},
        code_version="1",
        description=(
            f"FUSC on {encoder}: neighbours must agree on a cluster, clusters must be used evenly (equation 1). "
            "Trained on the train split without labels, applied to all images."
        ),
        gpu=True,
    )
    def fusc(context: Request, config: FuscHeadConfig, store: Store) -> Work:

        def produce(draft):
            compute = config.compute()
            log_device(context.run, compute)
            run = _FuscRun(store, encoder, config, compute)
            histories = fit_each(
                draft, config.n_clusters, config.seeds, lambda k, seed: run.fit(k, seed, context.run, draft.work)
            )
            last = histories[-1]["history"]
            draft.metadata |= {
                "loss": last[-1]["loss"],
                "consistency": last[-1]["consistency"],
                "entropy": last[-1]["entropy"],
                "curves": curves_markdown(last, ("loss", "consistency", "entropy")),
            }

        return Work(produce, holds=config.holds())

    def predict(store: ModelFiles, compute: Any, n_clusters: int, seed: int, images: ImagePixels) -> np.ndarray:
        weights = load_fit(store, name, n_clusters, seed)
        if any(key.startswith("backbone.") for key in weights):
            return predict_whole(store, compute, encoder, weights, images)
        return _predict_head(compute, weights, embeddings_of(store, compute, encoder, images))

    reads = (f"{encoder}_embeddings",)
    return Row(fusc, "fusc", predict, sees=f"{encoder}_encoder", encoder=encoder, reads=reads, fits_of=name)


def predict_whole(
    store: ModelFiles, compute: Any, encoder: str, weights: dict[str, Any], images: ImagePixels
) -> np.ndarray:
    """(N, K) of a network trained as a whole, backbone and heads, on the encoder."""
    from fusc_pipeline.clustering.predictions import predict_probabilities
    from fusc_pipeline.representation.augment import plain_view

    backbone = load_backbone(store, compute, f"{encoder}_encoder")
    model = compute.place(cluster_model(weights, backbone))
    return predict_probabilities(model, plain_view(images.pixels, compute), len(images.ids), compute)


def _predict_head(compute: Any, weights: dict[str, Any], vectors: np.ndarray) -> np.ndarray:
    """(N, K) of heads trained on cached embeddings."""
    import torch

    from fusc_pipeline.clustering.predictions import predict_probabilities

    rows = torch.from_numpy(vectors).to(compute.device)
    model = compute.place(cluster_model(weights))
    return predict_probabilities(model, lambda indices: rows[indices.to(compute.device)], len(rows), compute)


def cluster_model(weights: dict[str, Any], backbone: Any = None):
    """The `ClusterModel` of a fit's weights; what they do not hold of the backbone stays as it is."""
    from fusc_pipeline.clustering.heads import ClusterModel

    n_heads, n_clusters, dim = weights["weight"].shape
    model = ClusterModel(backbone, dim, n_clusters, n_heads)
    model.load_state_dict(model.state_dict() | weights)
    return model


class _FuscRun:
    """What the fits of one FUSC asset share: images or embeddings, and neighbours."""

    def __init__(self, store: Store, encoder: str, config: FuscHeadConfig, compute: Any):
        self.store, self.encoder, self.config, self.compute = store, encoder, config, compute
        self.ids, self.splits, self.vectors = embedding_arrays(store.table(f"{encoder}_embeddings"))
        self.train = np.flatnonzero(self.splits == "train")
        self.neighbours = neighbor_rows(store.table(f"{encoder}_neighbors"), self.ids[self.train].tolist())
        settings = store.require(f"{encoder}_encoder").config
        self.pixels = CorpusPixels(store, settings["image_size"], settings["resize"]).pixels

    def fit(self, n_clusters: int, seed: int, context: dg.AssetExecutionContext, work: Path):
        import torch

        from fusc_pipeline.clustering.fusc import build_cluster_model, fit_fusc
        from fusc_pipeline.clustering.predictions import predict_probabilities
        from fusc_pipeline.representation.augment import augmented_view, plain_view, strong_augment

        settings = settings_of(self.config, FuscConfig, n_clusters=n_clusters, seed=seed)
        compute, whole = self.compute, self.config.train_backbone
        backbone = load_backbone(self.store, compute, f"{self.encoder}_encoder") if whole else None
        model = build_cluster_model(settings, self.vectors.shape[1], backbone, self.vectors[self.train])
        if whole:
            augmentation = strong_augment(self.config.rotation_degrees)
            train_view = augmented_view(np.asarray(self.pixels[self.train]), augmentation, compute)
            inputs = plain_view(self.pixels, compute)
        else:
            vectors = torch.from_numpy(self.vectors).to(compute.device)
            train_rows = torch.from_numpy(self.train).to(compute.device)

            def train_view(indices, _generator):
                return vectors[train_rows[indices.to(compute.device)]]

            def inputs(indices):
                return vectors[indices.to(compute.device)]

        name = f"{context.asset_key.to_user_string()} K={n_clusters} seed={seed}"
        result = fit_fusc(
            model,
            train_view,
            self.neighbours,
            settings,
            compute,
            on_epoch=Progress(context, name, settings.epochs, fits=self.config.count()),
            checkpoint=work / f"{fit_name(n_clusters, seed)}.pt",
            run_id=f"{context.asset_key.to_user_string()} {whole}",
        )
        probabilities = predict_probabilities(result.model, inputs, len(self.ids), compute)
        rows = cluster_rows(self.ids, self.splits, probabilities, n_clusters, seed)
        return rows, result.model.state_dict(), result.history
