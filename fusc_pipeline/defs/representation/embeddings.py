"""Embeddings of each encoder and their nearest neighbours. The encoders themselves are `encoders`' part."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.schemas import EMBEDDINGS, NEIGHBORS
from fusc_pipeline.defs.engine.arrays import embedding_arrays, label_numbers
from fusc_pipeline.defs.engine.config_fields import AssetConfig
from fusc_pipeline.defs.engine.networks import (
    ComputeConfig,
    CorpusPixels,
    ImagePixels,
    ModelFiles,
    clean_pngs,
    load_backbone,
    log_device,
)
from fusc_pipeline.defs.engine.preview import image_markdown, image_strip
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.representation.encoders import PROJECTION
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.store import Store

INDEX = "index.faiss"


class EmbeddingsConfig(ComputeConfig):
    """Which vector stands for an image."""

    space: str = Field(
        default="backbone",
        description="backbone (before any head) or, for SimCLR, projection (what the loss sees).",
    )


def embeddings_asset(encoder: str) -> dg.AssetsDefinition:
    """One encoder's embeddings of the corpus."""
    name, source = f"{encoder}_embeddings", f"{encoder}_encoder"

    @stored_asset(
        name=name,
        deps=["corpus", source],
        group="representation",
        kinds={"pytorch", "parquet"},
        code_version="1",
        description="One L2-normalised vector per image of the corpus, train and test.",
        gpu=True,
    )
    def asset(context: Request, config: EmbeddingsConfig, store: Store) -> Work:

        def produce(draft):
            from fusc_pipeline.pictures.previews import components
            from fusc_pipeline.representation.backbones import embed

            compute = config.compute()
            log_device(context.run, compute)
            settings = store.require(source).config
            corpus = CorpusPixels(store, settings["image_size"], settings["resize"])
            vectors = embed(_embedder(store, compute, encoder, config.space), corpus.pixels, compute)
            table = pa.table(
                {
                    "image_id": corpus.table.column("image_id"),
                    "split": corpus.table.column("split"),
                    "embedding": pa.array(list(vectors), EMBEDDINGS.field("embedding").type),
                },
                schema=EMBEDDINGS,
            )
            draft.write_table(table)
            picture = components(vectors, corpus.table.column("view").to_pylist())
            draft.metadata |= {
                "dagster/row_count": len(vectors),
                "dimensions": int(vectors.shape[1]),
                "map": {"md": image_markdown(picture, "embeddings by view")},
            }

        return Work(produce)

    return asset


def _simclr_projection(network, weights: Path, compute):
    from fusc_pipeline.representation.simclr import load_projection

    return load_projection(network, weights, compute)


# (backbone, weights, compute) → the network with the part that its loss saw, for the encoders whose part can be used.
_PROJECTIONS = {"simclr": _simclr_projection}


def _embedder(store: ModelFiles, compute: Any, encoder: str, space: str):
    """The encoder's trained network up to the space, on the device."""
    source, project = f"{encoder}_encoder", _PROJECTIONS.get(encoder)
    if space not in ("backbone", *(["projection"] if project else [])):
        spaces = "backbone or projection" if project else "backbone"
        raise BadSetting(f"{encoder}_embeddings.space is {space!r}; choose {spaces}")
    network, weights = load_backbone(store, compute, source), store.folder(source) / PROJECTION
    if space == "backbone":
        return network
    if not weights.exists():
        raise BadSetting(f"{encoder}_embeddings.space is projection, but the frozen {source} has none; choose backbone")
    return _PROJECTIONS[encoder](network, weights, compute)


def embeddings_of(store: ModelFiles, compute: Any, encoder: str, images: ImagePixels) -> np.ndarray:
    """(N, d) embeddings of any images, made as the corpus's are; computed once for each `images`."""
    from fusc_pipeline.representation.backbones import embed

    if encoder not in images.vectors:
        space = store.require(f"{encoder}_embeddings").config["space"]
        images.vectors[encoder] = embed(_embedder(store, compute, encoder, space), images.pixels, compute)
    return images.vectors[encoder]


def _examples(store: Store, ids: np.ndarray, near_ids: np.ndarray, images: int = 4, neighbors: int = 5) -> str:
    """Markdown: some images, each in a row with its nearest ones."""
    import pyarrow.compute as pc

    lines, chosen = [], np.unique(np.linspace(0, len(ids) - 1, images).astype(int))
    rows = [[ids[i], *near_ids[i, :neighbors]] for i in chosen]
    corpus = store.table("corpus", columns=["image_id", "scan_batch"])
    wanted = pa.array(sorted({str(name) for row in rows for name in row}))
    pngs = dict(clean_pngs(store, corpus.filter(pc.is_in(corpus.column("image_id"), wanted))))
    for row in rows:
        lines.append(image_strip([pngs[name] for name in row if name in pngs], height=80))
    return "An image, and its nearest ones of the train split:\n\n" + "\n\n".join(lines)


class NeighborsConfig(AssetConfig):
    """How many neighbours are kept."""

    n_neighbors: int = Field(
        default=20, ge=1, le=1000, description="Nearest images of the train split per image (the paper: 20)."
    )


def neighbors_asset(encoder: str) -> dg.AssetsDefinition:
    """One encoder's nearest neighbours."""
    name, source = f"{encoder}_neighbors", f"{encoder}_embeddings"

    @stored_asset(
        name=name,
        deps=["corpus", source],
        group="representation",
        kinds={"faiss", "parquet"},
        code_version="2",
        description="The nearest images of the train split for every image, by cosine similarity, exact; never itself.",
    )
    def asset(context: Request, config: NeighborsConfig, store: Store) -> Work:

        def produce(draft):
            import faiss

            from fusc_pipeline.representation.neighbors import knn_accuracy, nearest_neighbors, neighbor_purity

            ids, splits, vectors = embedding_arrays(store.table(source))
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
            labels = label_numbers(store.table("corpus"), ids)
            purity = neighbor_purity(near, labels[train], labels)
            test = splits == "test"
            accuracy = knn_accuracy(near[test], similarities[test], labels[train], labels[test])
            draft.metadata |= {
                "dagster/row_count": len(ids),
                "knn_accuracy": None if np.isnan(accuracy) else round(accuracy, 4),
                "neighbours": int(near.shape[1]),
                "neighbour_purity": None if np.isnan(purity) else round(purity, 4),
                "mean_similarity": float(np.mean(similarities)),
                "examples": {"md": _examples(store, ids, near_ids)},
            }

        return Work(produce, holds=[TABLE, INDEX])

    return asset


simclr_embeddings = embeddings_asset("simclr")
simclr_neighbors = neighbors_asset("simclr")
dino_embeddings = embeddings_asset("dino")
dino_neighbors = neighbors_asset("dino")
