"""Clustering: one asset per model of the paper's tables. The methods are `fusc_pipeline.clustering`' part.

Each asset fits every K of its list with every seed, keeps one checkpoint per fit, and gives one table of assignments.
A model on another encoder is one more line at the end.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.clustering.configs import FuscConfig, SelfLabelConfig
from fusc_pipeline.defs.gpu import GPU_OP
from fusc_pipeline.defs.materialize import column_schema, materialize
from fusc_pipeline.defs.models import (
    HISTORY,
    ComputeConfig,
    CorpusPixels,
    PixelsConfig,
    curves_markdown,
    load_backbone,
    load_weights,
    log_device,
    save_weights,
)
from fusc_pipeline.defs.progress import Progress
from fusc_pipeline.defs.settings import asset_config, settings_of
from fusc_pipeline.defs.tables import cluster_rows, embedding_arrays, label_numbers, neighbor_rows
from fusc_pipeline.errors import BadSetting
from fusc_pipeline.representation.configs import SupervisedConfig
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.resources.store import Draft, Store
from fusc_pipeline.schemas import CLUSTERS
from fusc_pipeline.views import VIEWS

GROUP = "clustering"


class FitsConfig(ComputeConfig):
    """Which fits are made."""

    n_clusters: list[int] = Field(
        default=[15], description="Numbers of clusters K, each 2 or more (the paper: 4, 15, 120)."
    )
    seeds: list[int] = Field(default=[0, 1, 2], description="Random seeds; figures are given as mean ± sd over them.")


def fit_each(
    draft: Draft,
    config: Any,
    fit: Callable[[int, int], tuple[pa.Table, dict[str, Any], list[dict[str, Any]]]],
) -> list[dict[str, Any]]:
    """Run `fit(K, seed)` → (rows, weights, history) for every K and seed, write table, weights and histories.

    A finished fit is kept in the draft's work folder, so a killed run repeats only the one it was in.
    """
    if not config.n_clusters or not config.seeds:
        raise BadSetting("n_clusters and seeds must each name at least one number, e.g. n_clusters: [15], seeds: [0]")
    if wrong := [k for k in config.n_clusters if k < 2]:
        raise BadSetting(f"n_clusters holds {wrong[0]}; every K must be 2 or more")
    import pyarrow.parquet as pq

    tables, histories = [], []
    for n_clusters in config.n_clusters:
        for seed in config.seeds:
            name = fit_name(n_clusters, seed)
            kept = draft.work / f"{name}.done"
            if not (kept / HISTORY).exists():
                rows, weights, history = fit(n_clusters, seed)
                kept.mkdir(exist_ok=True)
                pq.write_table(rows, kept / "rows.parquet")
                save_weights(kept / f"{name}.safetensors", weights)
                (kept / f".{HISTORY}").write_text(json.dumps(history))
                (kept / f".{HISTORY}").rename(kept / HISTORY)  # last: marks the fit as whole
            tables.append(pq.read_table(kept / "rows.parquet", schema=CLUSTERS))
            histories.append(
                {"n_clusters": n_clusters, "seed": seed, "history": json.loads((kept / HISTORY).read_text())}
            )
            if (kept / f"{name}.safetensors").exists():
                (kept / f"{name}.safetensors").rename(draft.path(f"{name}.safetensors"))
    count = draft.write_table(iter(tables))
    draft.path(HISTORY).write_text(json.dumps(histories))
    draft.metadata |= {"dagster/row_count": count, "fits": len(tables)}
    return histories


def fit_name(n_clusters: int, seed: int) -> str:
    """Name of a fit's files."""
    return f"k{n_clusters}-seed{seed}"


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

            fit_each(draft, config, fit)

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
            histories = fit_each(draft, config, lambda k, seed: run.fit(k, seed, context, draft.work))
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


SelfLabelAssetConfig = asset_config(
    "SelfLabelAssetConfig", SelfLabelConfig, base=ComputeConfig, without=("seed",), epochs=5, batch_size=128
)


class SelfLabelHeadConfig(SelfLabelAssetConfig):
    """Self-labelling (FUSC*). It continues every fit of the FUSC asset before it."""

    rotation_degrees: float = Field(
        default=90.0, ge=0.0, le=180.0, description="Strong views are turned by up to this; 0 as in the paper."
    )


def selflabel_asset(encoder: str) -> dg.AssetsDefinition:
    """Self-labelling of one encoder's FUSC fits."""
    before, name = f"fusc_{encoder}", f"fusc_{encoder}_selflabel"
    upstream = ["corpus", f"{encoder}_encoder", before]

    @dg.asset(
        name=name,
        deps=upstream,
        group_name=GROUP,
        kinds={"pytorch", "parquet"},
        code_version="1",
        metadata=column_schema(name),
        description=(
            f"FUSC* on {encoder}: the network retrained on its own confident assignments. Stops before it loses "
            "clusters or leaves the partition it started from; the last good state is kept."
        ),
        **GPU_OP,
    )
    def selflabel(
        context: dg.AssetExecutionContext, config: SelfLabelHeadConfig, store: StoreResource
    ) -> dg.MaterializeResult:
        files = store.get()

        def produce(draft):
            compute = config.compute()
            log_device(context, compute)
            settings = files.require(f"{encoder}_encoder").config
            corpus = CorpusPixels(files, settings["image_size"], settings["resize"])
            earlier = files.require(before).config

            class Fits:
                n_clusters, seeds = earlier["n_clusters"], earlier["seeds"]

            histories = fit_each(
                draft,
                Fits,
                lambda k, seed: _self_label_fit(context, files, encoder, config, compute, corpus, k, seed, draft.work),
            )
            stopped = [
                {"n_clusters": f["n_clusters"], "seed": f["seed"], "stopped_because": f["history"][-1].get("stop")}
                for f in histories
            ]
            draft.path("stopped.json").write_text(json.dumps(stopped))
            lines = ["| K | seed | epochs | coverage | filled | stopped because |", "|--:|--:|--:|--:|--:|---|"]
            for fit, stop in zip(histories, stopped, strict=True):
                last = fit["history"][-1]
                lines.append(
                    f"| {fit['n_clusters']} | {fit['seed']} | {last['epoch']} | {last['coverage']:.2f} "
                    f"| {last['filled']} | {stop['stopped_because'] or 'ran its epochs'} |"
                )
            last = histories[-1]["history"]
            draft.metadata |= {
                "runs": {"md": "\n".join(lines)},
                "curves": curves_markdown(last, ("loss", "coverage", "agreement")),
            }

        return materialize(context, files, config, produce, upstream=upstream)

    return selflabel


def _self_label_fit(
    context: dg.AssetExecutionContext,
    files: Store,
    encoder: str,
    config: SelfLabelHeadConfig,
    compute: Any,
    corpus: CorpusPixels,
    n_clusters: int,
    seed: int,
    work: Path,
):
    from fusc_pipeline.clustering.heads import ClusterModel
    from fusc_pipeline.clustering.predictions import predict_probabilities
    from fusc_pipeline.clustering.selflabel import self_label
    from fusc_pipeline.representation.augment import augmented_view, plain_view, strong_augment

    settings = settings_of(config, SelfLabelConfig, seed=seed)
    before = f"fusc_{encoder}"
    state = load_weights(files.folder(before) / f"{fit_name(n_clusters, seed)}.safetensors")
    backbone = load_backbone(files, compute, f"{encoder}_encoder")
    model = ClusterModel(backbone, backbone.out_dim, n_clusters, state["weight"].shape[0], seed)
    # A head trained on cached embeddings has no backbone weights of its own: the encoder's stay in place.
    model.load_state_dict(model.state_dict() | state)
    train = np.asarray(corpus.pixels[corpus.rows("train")])
    name = f"{context.asset_key.to_user_string()} K={n_clusters} seed={seed}"
    result = self_label(
        model,
        plain_view(train, compute),
        augmented_view(train, strong_augment(config.rotation_degrees), compute),
        len(train),
        settings,
        compute,
        on_epoch=Progress(context, name, settings.epochs),
        checkpoint=work / f"{fit_name(n_clusters, seed)}.pt",
        run_id=files.require(before).data_version,
    )
    probabilities = predict_probabilities(result.model, plain_view(corpus.pixels, compute), len(corpus.ids), compute)
    splits = corpus.table.column("split").to_pylist()
    return cluster_rows(corpus.ids, splits, probabilities, n_clusters, seed), result.model.state_dict(), result.history


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
        from fusc_pipeline.representation.supervised import predict, train_supervised

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
        probabilities = predict(result.model, corpus.pixels, compute)
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
fusc_simclr = fusc_asset("simclr")
fusc_simclr_selflabel = selflabel_asset("simclr")

# The rows of the report's table, in its order.
MODELS = ("kmeans_simclr", "fusc_simclr", "fusc_simclr_selflabel", "supervised")
