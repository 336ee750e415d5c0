"""DeepMCAT's row: DeepCluster on VGG16, features and clusters in one. The method is `clustering.deepcluster`'s."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field

from fusc_pipeline.base.settings import default_of, settings_of
from fusc_pipeline.clustering.configs import DeepClusterConfig, DeepClusterTraining
from fusc_pipeline.defs.clustering.fits import FitsConfig, Row, fit_each, load_fit
from fusc_pipeline.defs.clustering.kmeans import fit_weights, fitted
from fusc_pipeline.defs.engine.arrays import cluster_rows
from fusc_pipeline.defs.engine.networks import (
    CorpusPixels,
    ImagePixels,
    ModelFiles,
    PixelsConfig,
    curves_markdown,
    log_device,
)
from fusc_pipeline.defs.engine.progress import Progress
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import fit_name


class DeepmcatConfig(FitsConfig, PixelsConfig, DeepClusterTraining):
    """DeepMCAT (Kart et al. 2021, arXiv 2110.00109): DeepCluster with K = 8 times the views, or fewer."""

    # Sized like the other assets' defaults: for two CPU cores and some thousand frames.
    epochs: int = default_of(DeepClusterTraining, "epochs", 8)
    batch_size: int = default_of(DeepClusterTraining, "batch_size", 64)
    backbone: str = Field(
        default="vgg16_bn_small", description="vgg16_bn as DeepCluster, vgg16_bn_small for images of 64 to 96 pixels."
    )
    min_crop_scale: float = Field(
        default=0.2, ge=0.01, le=1.0, description="Smallest crop, as a share of the image's area."
    )
    rotation_degrees: float = Field(
        default=90.0, ge=0.0, le=180.0, description="Views are turned by up to this; 0 as in DeepCluster."
    )
    seeds: list[int] = Field(default=[0], description="Random seeds; every fit trains a network of its own.")


@stored_asset(
    deps=["corpus"],
    group="clustering",
    kinds={"pytorch", "parquet"},
    code_version="2",
    gpu=True,
)
def deepmcat(context: Request, config: DeepmcatConfig, store: Store) -> Work:
    """DeepCluster on VGG16: features are clustered and the clusters learned from, in turns, on the train split.

    Clusters of all images come from the last epoch's whitened features and centroids.
    """

    def produce(draft):
        compute = config.compute()
        log_device(context.run, compute)
        corpus = CorpusPixels(store, config.image_size, config.resize)
        histories = fit_each(
            draft,
            config.n_clusters,
            config.seeds,
            lambda k, seed: _fit(context.run, config, compute, corpus, k, seed, draft.work),
        )
        last = histories[-1]["history"]
        draft.metadata |= {"curves": curves_markdown(last, ("loss", "agreement", "filled"))}

    return Work(produce, holds=config.holds())


def _fit(
    context: dg.AssetExecutionContext,
    config: DeepmcatConfig,
    compute: Any,
    corpus: CorpusPixels,
    n_clusters: int,
    seed: int,
    work: Path,
):
    import torch

    from fusc_pipeline.clustering.deepcluster import fit_deepcluster
    from fusc_pipeline.representation.augment import Augmentation, augmented_view, plain_view
    from fusc_pipeline.representation.backbones import build_backbone

    settings = settings_of(config, DeepClusterConfig, n_clusters=n_clusters, seed=seed)
    train = np.asarray(corpus.pixels[corpus.rows("train")])
    augmentation = Augmentation(
        min_crop_scale=config.min_crop_scale, rotation_degrees=config.rotation_degrees, jitter_p=0.0
    )
    result = fit_deepcluster(
        build_backbone(config.backbone, seed=seed),
        augmented_view(train, augmentation, compute),
        plain_view(train, compute),
        len(train),
        settings,
        compute,
        on_epoch=Progress(context, f"deepmcat K={n_clusters} seed={seed}", settings.epochs, fits=config.count()),
        checkpoint=work / f"{fit_name(n_clusters, seed)}.pt",
        run_id=f"deepmcat {config.backbone}",
    )
    probabilities = result.predict_proba(plain_view(corpus.pixels, compute), len(corpus.ids), compute)
    weights = result.network.state_dict() | {
        "space.mean": torch.from_numpy(result.space.mean),
        "space.components": torch.from_numpy(result.space.components),
        **fit_weights(result.clusterer),
    }
    splits = corpus.table.column("split").to_pylist()
    return cluster_rows(corpus.ids, splits, probabilities, n_clusters, seed), weights, result.history


def _predict(store: ModelFiles, compute: Any, n_clusters: int, seed: int, images: ImagePixels) -> np.ndarray:
    from fusc_pipeline.clustering.deepcluster import DeepClusterResult, WhitenedSpace
    from fusc_pipeline.representation.augment import plain_view
    from fusc_pipeline.representation.backbones import build_backbone

    weights = load_fit(store, "deepmcat", n_clusters, seed)
    kept = ("space.mean", "space.components", "centroids", "variance")
    space = WhitenedSpace(weights["space.mean"].numpy(), weights["space.components"].numpy())
    network = build_backbone(store.require("deepmcat").config["backbone"], seed=seed)
    network.load_state_dict({name: value for name, value in weights.items() if name not in kept})
    result = DeepClusterResult(compute.place(network).eval(), space, fitted(weights), [])
    return result.predict_proba(plain_view(images.pixels, compute), len(images.ids), compute)


ROW = Row(deepmcat, "deepmcat", _predict, sees="deepmcat", fits_of="deepmcat")
