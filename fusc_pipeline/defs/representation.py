"""Representation: images to vectors and their neighbours. The training is `fusc_pipeline.representation`' part."""

import json

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
from fusc_pipeline.representation.configs import SimclrConfig
from fusc_pipeline.resources.parquet_io import TableHandle
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.schemas import EMBEDDINGS, NEIGHBORS

CHECKPOINT = "checkpoint.pt"
INDEX = "index.faiss"


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


@dg.asset(deps=["corpus"], group_name="representation", kinds={"pytorch"}, code_version="1", **GPU_OP)
def simclr_encoder(
    context: dg.AssetExecutionContext, config: SimclrEncoderConfig, store: StoreResource
) -> dg.MaterializeResult:
    """A ResNet18 trained by contrast on the train split's clean images, without labels (SimCLR).

    Resumable: a killed run continues from its last checkpoint and ends with the same weights.
    """
    files = store.get()

    def produce(draft):
        from fusc_pipeline.representation.simclr import train_simclr

        compute = config.compute()
        log_device(context, compute)
        corpus = CorpusPixels(files, config.image_size, config.resize)
        result = train_simclr(
            np.asarray(corpus.pixels[corpus.rows("train")]),
            settings_of(config, SimclrConfig),
            compute,
            draft.work / CHECKPOINT,
            Progress(context, "simclr_encoder", config.epochs),
        )
        save_weights(draft.path(WEIGHTS), result.backbone)
        save_weights(draft.path("projection.safetensors"), result.projection)
        draft.path(HISTORY).write_text(json.dumps(result.history))
        last = result.history[-1]
        draft.metadata |= {
            "loss": last["loss"],
            "images_per_second": round(last["images_per_second"], 1),
            "effective_rank": last["effective_rank"],
            "curves": curves_markdown(result.history, ("loss", "effective_rank")),
        }

    return materialize(context, files, config, produce, upstream=["corpus"], model=True)


class EmbeddingsConfig(ComputeConfig):
    """Which vector stands for an image."""

    space: str = Field(
        default="backbone",
        description="backbone (512-d, before the projection head) or projection (what the loss sees).",
    )


@dg.asset(
    deps=["corpus", simclr_encoder],
    group_name="representation",
    kinds={"pytorch", "parquet"},
    code_version="1",
    metadata=column_schema("simclr_embeddings"),
    **GPU_OP,
)
def simclr_embeddings(
    context: dg.AssetExecutionContext, config: EmbeddingsConfig, store: StoreResource
) -> dg.MaterializeResult:
    """One L2-normalised vector per image of the corpus, train and test."""
    files = store.get()

    def produce(draft):
        from fusc_pipeline.representation.backbones import embed
        from fusc_pipeline.representation.simclr import load_projection

        compute = config.compute()
        log_device(context, compute)
        encoder = files.require("simclr_encoder")
        corpus = CorpusPixels(files, encoder.config["image_size"], encoder.config["resize"])
        network = load_backbone(files, compute)
        if config.space == "projection":
            network = load_projection(network, files.folder("simclr_encoder") / "projection.safetensors", compute)
        elif config.space != "backbone":
            raise BadSetting(f"simclr_embeddings.space is {config.space!r}; choose backbone or projection")
        vectors = embed(network, corpus.pixels, compute)
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

    return materialize(context, files, config, produce, upstream=["corpus", "simclr_encoder"])


class NeighborsConfig(AssetConfig):
    """How many neighbours are kept."""

    n_neighbors: int = Field(
        default=20, ge=1, le=1000, description="Nearest images of the train split per image (the paper: 20)."
    )


@dg.asset(
    group_name="representation",
    kinds={"faiss", "parquet"},
    code_version="1",
    metadata=column_schema("simclr_neighbors"),
)
def simclr_neighbors(
    context: dg.AssetExecutionContext,
    config: NeighborsConfig,
    store: StoreResource,
    simclr_embeddings: TableHandle,
    corpus: TableHandle,
) -> dg.MaterializeResult:
    """The nearest images of the train split for every image, by cosine similarity, exact; never the image itself."""

    def produce(draft):
        import faiss

        from fusc_pipeline.clustering.neighbors import nearest_neighbors, neighbor_purity

        ids, splits, vectors = embedding_arrays(simclr_embeddings.read())
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
        labels = label_numbers(corpus.read(), ids)
        purity = neighbor_purity(near, labels[train], labels)
        draft.metadata |= {
            "dagster/row_count": len(ids),
            "neighbours": int(near.shape[1]),
            "neighbour_purity": None if np.isnan(purity) else round(purity, 4),
            "mean_similarity": float(np.mean(similarities)),
        }

    return materialize(context, store.get(), config, produce, upstream=["simclr_embeddings", "corpus"])
