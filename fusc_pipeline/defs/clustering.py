"""Clustering: one asset per model of the paper's tables. The methods are `fusc_pipeline.clustering`' part.

Each asset fits every K of its list with every seed, keeps one checkpoint per fit, and gives one table of assignments.
A model on another encoder is one more line at the end.
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field

from fusc_pipeline.clustering.configs import FuscConfig
from fusc_pipeline.defs.fits import FitsConfig, fit_each, fit_name
from fusc_pipeline.defs.gpu import GPU_OP
from fusc_pipeline.defs.materialize import column_schema, materialize
from fusc_pipeline.defs.models import (
    HISTORY,
    CorpusPixels,
    PixelsConfig,
    curves_markdown,
    load_backbone,
    log_device,
    save_weights,
)
from fusc_pipeline.defs.progress import Progress
from fusc_pipeline.defs.selflabel import selflabel_asset
from fusc_pipeline.defs.settings import asset_config, settings_of
from fusc_pipeline.defs.tables import cluster_rows, embedding_arrays, label_numbers, neighbor_rows
from fusc_pipeline.representation.configs import SupervisedConfig
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.resources.store import Store
from fusc_pipeline.schemas import CLUSTERS
from fusc_pipeline.views import VIEWS

GROUP = "clustering"


class KMeansConfig(FitsConfig):
    """K-means on the embeddings."""

    n_init: int = Field(default=10, ge=1, le=100, description="Restarts of k-means++, the tightest is kept.")


def kmeans_asset(encoder: str) -> dg.AssetsDefinition:
    """K-means on one encoder's embeddings (the paper's baseline rows)."""
    name = f"kmeans_{encoder}"

    @dg.asset(
        name=name,
        deps=[f"{encoder}_embeddings"],
        group_name=GROUP,
        kinds={"scikitlearn", "parquet"},
        code_version="1",
        metadata=column_schema(name),
        description=f"K-means on L2-normalised {encoder} embeddings: fit on the train split, applied to all.",
    )
    def kmeans(context: dg.AssetExecutionContext, config: KMeansConfig, store: StoreResource) -> dg.MaterializeResult:
        files = store.get()

        def produce(draft):
            from fusc_pipeline.clustering.kmeans import KMeansClusterer

            config.compute()
            ids, splits, vectors = embedding_arrays(files.table(f"{encoder}_embeddings"))

            def fit(n_clusters, seed):
                import torch

                model = KMeansClusterer(n_clusters, config.n_init, seed).fit(vectors[splits == "train"])
                rows = cluster_rows(ids, splits, model.predict_proba(vectors), n_clusters, seed)
                return rows, {"centroids": torch.from_numpy(model.centroids_)}, []

            fit_each(draft, config.n_clusters, config.seeds, fit)

        return materialize(context, files, config, produce, upstream=[f"{encoder}_embeddings"])

    return kmeans


FuscAssetConfig = asset_config(
    "FuscAssetConfig",
    FuscConfig,
    base=FitsConfig,
    without=("n_clusters", "seed"),
    epochs=8,
    batch_size=64,
    lr=5e-5,
    head_lr=1e-3,
    init="kmeans",
)


class FuscHeadConfig(FuscAssetConfig):
    """FUSC's clustering step."""

    train_backbone: bool = Field(
        default=True,
        description="Fine-tune the whole network (the reference code); false: the head on cached embeddings.",
    )
    rotation_degrees: float = Field(
        default=90.0, ge=0.0, le=180.0, description="Views are turned by up to this; 0 as in the paper."
    )


def fusc_asset(encoder: str) -> dg.AssetsDefinition:
    """The FUSC clustering step on one encoder."""
    name, upstream = (
        f"fusc_{encoder}",
        ["corpus", f"{encoder}_encoder", f"{encoder}_embeddings", f"{encoder}_neighbors"],
    )

    @dg.asset(
        name=name,
        deps=upstream,
        group_name=GROUP,
        kinds={"pytorch", "parquet"},
        code_version="1",
        metadata=column_schema(name),
        description=(
            f"FUSC on {encoder}: neighbours must agree on a cluster, clusters must be used evenly (equation 1). "
            "Trained on the train split without labels, applied to all images."
        ),
        **GPU_OP,
    )
    def fusc(context: dg.AssetExecutionContext, config: FuscHeadConfig, store: StoreResource) -> dg.MaterializeResult:
        files = store.get()

        def produce(draft):
            compute = config.compute()
            log_device(context, compute)
            run = _FuscRun(files, encoder, config, compute)
            histories = fit_each(
                draft, config.n_clusters, config.seeds, lambda k, seed: run.fit(k, seed, context, draft.work)
            )
            last = histories[-1]["history"]
            draft.metadata |= {
                "loss": last[-1]["loss"],
                "consistency": last[-1]["consistency"],
                "entropy": last[-1]["entropy"],
                "curves": curves_markdown(last, ("loss", "consistency", "entropy")),
            }

        return materialize(context, files, config, produce, upstream=upstream)

    return fusc


class _FuscRun:
    """What the fits of one FUSC asset share: images or embeddings, and neighbours."""

    def __init__(self, files: Store, encoder: str, config: FuscHeadConfig, compute: Any):
        self.files, self.encoder, self.config, self.compute = files, encoder, config, compute
        self.ids, self.splits, self.vectors = embedding_arrays(files.table(f"{encoder}_embeddings"))
        self.train = np.flatnonzero(self.splits == "train")
        self.neighbours = neighbor_rows(files.table(f"{encoder}_neighbors"), self.ids[self.train].tolist())
        settings = files.require(f"{encoder}_encoder").config
        self.pixels = CorpusPixels(files, settings["image_size"], settings["resize"]).pixels

    def fit(self, n_clusters: int, seed: int, context: dg.AssetExecutionContext, work: Path):
        import torch

        from fusc_pipeline.clustering.fusc import build_cluster_model, fit_fusc
        from fusc_pipeline.clustering.predictions import predict_probabilities
        from fusc_pipeline.representation.augment import augmented_view, plain_view, strong_augment

        settings = settings_of(self.config, FuscConfig, n_clusters=n_clusters, seed=seed)
        compute, whole = self.compute, self.config.train_backbone
        backbone = load_backbone(self.files, compute, f"{self.encoder}_encoder") if whole else None
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
            on_epoch=Progress(context, name, settings.epochs),
            checkpoint=work / f"{fit_name(n_clusters, seed)}.pt",
            run_id=f"{context.asset_key.to_user_string()} {whole}",
        )
        probabilities = predict_probabilities(result.model, inputs, len(self.ids), compute)
        rows = cluster_rows(self.ids, self.splits, probabilities, n_clusters, seed)
        return rows, result.model.state_dict(), result.history


SupervisedAssetConfig = asset_config(
    "SupervisedAssetConfig", SupervisedConfig, base=PixelsConfig, epochs=25, batch_size=64, rotation_degrees=90.0
)


@dg.asset(
    deps=["corpus"],
    group_name=GROUP,
    kinds={"pytorch", "parquet"},
    code_version="1",
    metadata=column_schema("supervised"),
    **GPU_OP,
)
def supervised(
    context: dg.AssetExecutionContext, config: SupervisedAssetConfig, store: StoreResource
) -> dg.MaterializeResult:
    """A ResNet18 trained on the pseudo-labels, from scratch: the upper line clustering is measured against.

    Its "clusters" are the views, in the order of `fusc_pipeline.views.VIEWS`. Without labels the table is empty.
    """
    files = store.get()

    def produce(draft):
        from fusc_pipeline.clustering.predictions import predict_probabilities
        from fusc_pipeline.representation.augment import plain_view
        from fusc_pipeline.representation.supervised import train_supervised

        corpus = CorpusPixels(files, config.image_size, config.resize)
        train = corpus.rows("train")
        labels = label_numbers(corpus.table, corpus.ids)
        if (labels[train] >= 0).sum() < 2:
            draft.write_table(CLUSTERS.empty_table())
            draft.path(HISTORY).write_text("[]")
            draft.metadata |= {"dagster/row_count": 0, "skipped": "fewer than two training images have a label"}
            return
        compute = config.compute()
        log_device(context, compute)
        result = train_supervised(
            np.asarray(corpus.pixels[train]),
            labels[train],
            settings_of(config, SupervisedConfig),
            compute,
            draft.work / "checkpoint.pt",
            Progress(context, "supervised", config.epochs),
            n_classes=len(VIEWS),
        )
        probabilities = predict_probabilities(
            result.model, plain_view(corpus.pixels, compute), len(corpus.ids), compute
        )
        splits = corpus.table.column("split").to_pylist()
        draft.write_table(cluster_rows(corpus.ids, splits, probabilities, len(VIEWS), config.seed))
        save_weights(draft.path("weights.safetensors"), result.model.state_dict())
        draft.path(HISTORY).write_text(json.dumps(result.history))
        draft.metadata |= {
            "dagster/row_count": len(corpus.ids),
            "train_accuracy": result.history[-1]["train_accuracy"],
            "curves": curves_markdown(result.history, ("loss", "train_accuracy")),
        }

    return materialize(context, files, config, produce, upstream=["corpus"])


kmeans_simclr = kmeans_asset("simclr")
kmeans_dino = kmeans_asset("dino")
fusc_simclr = fusc_asset("simclr")
fusc_dino = fusc_asset("dino")
fusc_simclr_selflabel = selflabel_asset("simclr")
fusc_dino_selflabel = selflabel_asset("dino")

# The rows of the paper's Table 1, in its order.
MODELS = (
    "deepmcat",
    "kmeans_simclr",
    "kmeans_dino",
    "fusc_simclr",
    "fusc_simclr_selflabel",
    "fusc_dino",
    "fusc_dino_selflabel",
    "supervised",
)
