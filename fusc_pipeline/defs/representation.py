"""Representation: images to vectors and their neighbours, for each encoder. The training is `representation`' part."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.defs.gpu import GPU_OP
from fusc_pipeline.defs.materialize import AssetConfig, column_schema, materialize
from fusc_pipeline.defs.models import (
    HISTORY,
    WEIGHTS,
    ComputeConfig,
    CorpusPixels,
    ImagePixels,
    PixelsConfig,
    curves_markdown,
    load_backbone,
    log_device,
    save_weights,
)
from fusc_pipeline.defs.progress import Progress
from fusc_pipeline.defs.settings import asset_config, settings_of
from fusc_pipeline.defs.tables import embedding_arrays, label_numbers
from fusc_pipeline.errors import BadSetting
from fusc_pipeline.representation.configs import DinoConfig, SimclrConfig
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.resources.store import Store
from fusc_pipeline.schemas import EMBEDDINGS, NEIGHBORS

CHECKPOINT = "checkpoint.pt"
INDEX = "index.faiss"
PROJECTION = "projection.safetensors"


@dataclass(frozen=True)
class Trained:
    """What a pretraining run leaves: state dicts of the backbone and the part the loss saw, and the metric history."""

    backbone: dict[str, Any]
    projection: dict[str, Any]
    history: list[dict[str, Any]]


def encoder_asset(
    encoder: str,
    config_class: type[PixelsConfig],
    train: Callable[[np.ndarray, Any, Any, Path, Any], Trained],
    curves: tuple[str, ...],
    description: str,
) -> dg.AssetsDefinition:
    """An encoder trained on the train split's clean images.

    train(pixels, asset config, compute, checkpoint, on_epoch); curves: entries of the history to plot, and to keep as
    metadata.
    """
    name = f"{encoder}_encoder"

    @dg.asset(
        name=name,
        deps=["corpus"],
        group_name="representation",
        kinds={"pytorch"},
        code_version="1",
        description=f"{description} Resumable: a killed run continues from its last checkpoint, to the same weights.",
        **GPU_OP,
    )
    def asset(context: dg.AssetExecutionContext, config: config_class, store: StoreResource) -> dg.MaterializeResult:
        files = store.get()

        def produce(draft):
            compute = config.compute()
            log_device(context, compute)
            corpus = CorpusPixels(files, config.image_size, config.resize)
            pixels = np.asarray(corpus.pixels[corpus.rows("train")])
            progress = Progress(context, name, config.epochs)
            result = train(pixels, config, compute, draft.work / CHECKPOINT, progress)
            save_weights(draft.path(WEIGHTS), result.backbone)
            save_weights(draft.path(PROJECTION), result.projection)
            draft.path(HISTORY).write_text(json.dumps(result.history))
            last = result.history[-1]
            draft.metadata |= {"images_per_second": round(last["images_per_second"], 1)}
            draft.metadata |= {key: last[key] for key in curves}
            draft.metadata |= {"curves": curves_markdown(result.history, curves)}

        return materialize(context, files, config, produce, upstream=["corpus"], model=True)

    return asset


# Sized for two CPU cores and some thousand frames; the paper's own values are the dataclass's (500 epochs, batch 512).
SimclrEncoderConfig = asset_config(
    "SimclrEncoderConfig",
    SimclrConfig,
    base=PixelsConfig,
    epochs=50,
    batch_size=64,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=1e-2,
    warmup_epochs=4.0,
    rotation_degrees=90.0,
)

# The same, for a vision transformer: few local views, a teacher that follows faster, a small head.
DinoEncoderConfig = asset_config(
    "DinoEncoderConfig",
    DinoConfig,
    base=PixelsConfig,
    epochs=60,
    batch_size=64,
    warmup_epochs=6.0,
    hidden_dim=512,
    bottleneck_dim=128,
    momentum=0.99,
    n_local=4,
    local_share=0.5,
    rotation_degrees=90.0,
)


def _train_simclr(pixels, config, compute, checkpoint, on_epoch) -> Trained:
    from fusc_pipeline.representation.simclr import train_simclr

    result = train_simclr(pixels, settings_of(config, SimclrConfig), compute, checkpoint, on_epoch)
    return Trained(result.backbone, result.projection, result.history)


def _train_dino(pixels, config, compute, checkpoint, on_epoch) -> Trained:
    from fusc_pipeline.representation.dino import train_dino

    result = train_dino(pixels, settings_of(config, DinoConfig), compute, checkpoint, on_epoch)
    return Trained(result.backbone, result.head, result.history)


class EmbeddingsConfig(ComputeConfig):
    """Which vector stands for an image."""

    space: str = Field(
        default="backbone",
        description="backbone (before any head) or, for SimCLR, projection (what the loss sees).",
    )


def embeddings_asset(encoder: str) -> dg.AssetsDefinition:
    """One encoder's embeddings of the corpus."""
    name, source = f"{encoder}_embeddings", f"{encoder}_encoder"

    @dg.asset(
        name=name,
        deps=["corpus", source],
        group_name="representation",
        kinds={"pytorch", "parquet"},
        code_version="1",
        metadata=column_schema(name),
        description="One L2-normalised vector per image of the corpus, train and test.",
        **GPU_OP,
    )
    def asset(
        context: dg.AssetExecutionContext, config: EmbeddingsConfig, store: StoreResource
    ) -> dg.MaterializeResult:
        files = store.get()

        def produce(draft):
            from fusc_pipeline.representation.backbones import embed

            compute = config.compute()
            log_device(context, compute)
            settings = files.require(source).config
            corpus = CorpusPixels(files, settings["image_size"], settings["resize"])
            vectors = embed(_embedder(files, compute, encoder, config.space), corpus.pixels, compute)
            table = pa.table(
                {
                    "image_id": corpus.table.column("image_id"),
                    "split": corpus.table.column("split"),
                    "embedding": pa.array(list(vectors), EMBEDDINGS.field("embedding").type),
                },
                schema=EMBEDDINGS,
            )
            draft.write_table(table)
            draft.metadata |= {"dagster/row_count": len(vectors), "dimensions": int(vectors.shape[1])}

        return materialize(context, files, config, produce, upstream=["corpus", source])

    return asset


def _simclr_projection(network, weights: Path, compute):
    from fusc_pipeline.representation.simclr import load_projection

    return load_projection(network, weights, compute)


# (backbone, weights, compute) → the network with the part that its loss saw, for the encoders whose part can be used.
_PROJECTIONS = {"simclr": _simclr_projection}


def _embedder(files: Store, compute: Any, encoder: str, space: str):
    """The encoder's trained network up to the space, on the device."""
    source, project = f"{encoder}_encoder", _PROJECTIONS.get(encoder)
    if space not in ("backbone", *(["projection"] if project else [])):
        spaces = "backbone or projection" if project else "backbone"
        raise BadSetting(f"{encoder}_embeddings.space is {space!r}; choose {spaces}")
    network = load_backbone(files, compute, source)
    return network if space == "backbone" else project(network, files.folder(source) / PROJECTION, compute)


def embeddings_of(files: Store, compute: Any, encoder: str, images: ImagePixels) -> np.ndarray:
    """(N, d) embeddings of any images, made as the corpus's are; computed once for each `images`."""
    from fusc_pipeline.representation.backbones import embed

    if encoder not in images.vectors:
        space = files.require(f"{encoder}_embeddings").config["space"]
        images.vectors[encoder] = embed(_embedder(files, compute, encoder, space), images.pixels, compute)
    return images.vectors[encoder]


class NeighborsConfig(AssetConfig):
    """How many neighbours are kept."""

    n_neighbors: int = Field(
        default=20, ge=1, le=1000, description="Nearest images of the train split per image (the paper: 20)."
    )


def neighbors_asset(encoder: str) -> dg.AssetsDefinition:
    """One encoder's nearest neighbours."""
    name, source = f"{encoder}_neighbors", f"{encoder}_embeddings"

    @dg.asset(
        name=name,
        deps=["corpus", source],
        group_name="representation",
        kinds={"faiss", "parquet"},
        code_version="1",
        metadata=column_schema(name),
        description="The nearest images of the train split for every image, by cosine similarity, exact; never itself.",
    )
    def asset(context: dg.AssetExecutionContext, config: NeighborsConfig, store: StoreResource) -> dg.MaterializeResult:
        files = store.get()

        def produce(draft):
            import faiss

            from fusc_pipeline.clustering.neighbors import nearest_neighbors, neighbor_purity

            ids, splits, vectors = embedding_arrays(files.table(source))
            train = np.flatnonzero(splits == "train")
            near, similarities = nearest_neighbors(vectors[train], ids[train], vectors, ids, config.n_neighbors)
            near_ids = ids[train][near]
            table = pa.table(
                {
                    "image_id": pa.array(ids.tolist()),
                    "split": pa.array(splits.tolist()),
                    "neighbor_ids": pa.array([row.tolist() for row in near_ids], NEIGHBORS.field("neighbor_ids").type),
                    "similarities": pa.array(list(similarities), NEIGHBORS.field("similarities").type),
                },
                schema=NEIGHBORS,
            )
            draft.write_table(table)
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(vectors[train])
            faiss.write_index(index, str(draft.path(INDEX)))
            labels = label_numbers(files.table("corpus"), ids)
            purity = neighbor_purity(near, labels[train], labels)
            draft.metadata |= {
                "dagster/row_count": len(ids),
                "neighbours": int(near.shape[1]),
                "neighbour_purity": None if np.isnan(purity) else round(purity, 4),
                "mean_similarity": float(np.mean(similarities)),
            }

        return materialize(context, files, config, produce, upstream=[source, "corpus"])

    return asset


simclr_encoder = encoder_asset(
    "simclr",
    SimclrEncoderConfig,
    _train_simclr,
    ("loss", "effective_rank"),
    "A ResNet18 trained by contrast on the train split's clean images, without labels (SimCLR).",
)
simclr_embeddings = embeddings_asset("simclr")
simclr_neighbors = neighbors_asset("simclr")

dino_encoder = encoder_asset(
    "dino",
    DinoEncoderConfig,
    _train_dino,
    ("loss", "teacher_entropy_share", "kl", "effective_rank"),
    "A ViT-S/16 trained by self-distillation on the train split's clean images, without labels (DINO).",
)
dino_embeddings = embeddings_asset("dino")
dino_neighbors = neighbors_asset("dino")
