"""A batch's clean images put into clusters by the model in service; nothing is trained, other batches are not read."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.schemas import BATCH_ASSIGNMENTS
from fusc_pipeline.defs.engine.networks import ComputeConfig, clean_pngs, log_device
from fusc_pipeline.defs.engine.preview import image_strip
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.service.promoting import put_back
from fusc_pipeline.defs.service.served import apply_bundle, filled_up
from fusc_pipeline.service.in_service import ASSIGNMENTS, IN_SERVICE, Served, require_served
from fusc_pipeline.service.outliers import NEIGHBOURS
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.grow import MANIFEST, basis_of, grow_table
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    from fusc_pipeline.service.bundle import Bundle
    from fusc_pipeline.service.drift import Drift

DRIFT = "drift"  # metadata entry with the batch's figures, `service.drift.Drift` as JSON
SHOWN = 6  # least sure frames in the preview


class AssignmentsConfig(ComputeConfig):
    """How images are assigned."""

    neighbors: int = Field(default=NEIGHBOURS, ge=1, le=1000, description="Nearest training images kept per image.")


@stored_asset(
    per_batch=True,
    deps=["clean_images", "pseudo_labels", IN_SERVICE],
    group="service",
    kinds={"pytorch", "faiss", "parquet"},
    code_version="1",
    gpu=True,
)
def batch_assignments(context: Request, config: AssignmentsConfig, store: Store) -> Work:
    """The batch's clean images in the clusters of the model in service: cluster, confidence, nearest training images,
    how unusual. Nothing is trained; a grown batch computes its new images only, another model all of them.

    The cluster is its stable identity. Metadata holds the drift of the batch against the training corpus.
    """
    batch = context.partition_key
    model = require_served(store)
    labels, cleaning = (store.record(asset, batch) for asset in ("pseudo_labels", "clean_images"))

    def produce(draft):
        wanted = _clean_images(store, batch)
        if (damage := put_back(store, model, context.log.warning)) and damage.left:
            raise damage.left
        bundle = model.bundle()

        def assign(todo: list[str]) -> Iterator[tuple[str, list[dict]]]:
            if not todo:
                return
            compute = config.compute()
            log_device(context.run, compute)
            images = pa.table({"image_id": todo, "scan_batch": [batch] * len(todo)})
            yield from _rows(store, bundle, model, compute, images, config.neighbors, draft.work)

        ids = wanted.column("image_id").to_pylist()
        # The same frame may have been cleaned on another basis, and so look otherwise, in another batch.
        cleaned = basis_of(store, "clean_images", batch)
        grown = grow_table(
            *(store, draft, ASSIGNMENTS, batch, draft.recipe.key, BATCH_ASSIGNMENTS, ids, assign),
            basis=cleaned,
            afresh=config.force,
        )
        found = _read(draft.path("table.parquet"))
        figures = _drift(store, batch, model, bundle, found, wanted)
        draft.metadata |= {
            "dagster/row_count": len(ids),
            "images_assigned_now": grown.computed,
            "images_kept": grown.kept,
            "images_kept_from_other_batches": grown.from_other_batches,
            "model_version": model.number,
            "frames_new_to_model": figures.new,
            DRIFT: figures.plain(),
            "clusters": {"md": _clusters_markdown(found)},
            "least_sure": {"md": _least_sure(store, batch, found)},
        }

    return Work(
        produce,
        upstream=["clean_images"],
        inputs={"pseudo_labels": labels.data_version} if labels else {},
        extra={
            # The number alone would do but for a history that was lost.
            "model": [model.number, model.version, digest(list(model.identities))],
            # Images cleaned in another way look otherwise, so rows may be kept only under the same cleaning.
            "cleaning": cleaning.recipe if cleaning else "",
        },
        holds=[TABLE, MANIFEST],
        incremental=True,
    )


def _clean_images(store: Store, batch: str) -> pa.Table:
    import pyarrow.compute as pc

    clean = store.dataset("clean_images", batch)
    return clean.to_table(columns=["image_id", "subject_key"], filter=pc.field("quarantined").is_null())


def _rows(
    store: Store, bundle: "Bundle", model: Served, compute: Any, images: pa.Table, neighbors: int, work: Path
) -> Iterator[tuple[str, list[dict]]]:
    """(image_id, its row) of every image."""
    from fusc_pipeline.representation.neighbors import nearest_neighbors

    calibration, known = bundle.calibration(), bundle.table(["image_id", "split"])
    train = np.array(known.column("split").to_pylist()) == "train"
    train_ids = np.array(known.column("image_id").to_pylist())[train]
    vectors, identities = bundle.vectors()[train], np.array(model.identities)
    for piece in apply_bundle(bundle, compute, store, images, work):
        places = filled_up(len(piece.ids))
        ids, k = [piece.ids[place] for place in places], max(neighbors, NEIGHBOURS)
        near, similarities = nearest_neighbors(vectors, train_ids, piece.vectors[places], ids, k)
        near, similarities = near[: len(piece.ids)], similarities[: len(piece.ids)]
        scores = calibration.ood_scores(similarities[:, :NEIGHBOURS])
        clusters = identities[piece.probabilities.argmax(1)]
        for place, image in enumerate(piece.ids):
            yield (
                image,
                [
                    {
                        "image_id": image,
                        "cluster": int(clusters[place]),
                        "confidence": float(piece.probabilities[place].max()),
                        "neighbor_ids": train_ids[near[place, :neighbors]].tolist(),
                        "similarities": similarities[place, :neighbors].tolist(),
                        "ood_score": float(scores[place]),
                        "model_version": model.number,
                    }
                ],
            )


def _read(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=["image_id", "cluster", "confidence", "ood_score"])


def _drift(store: Store, batch: str, model: Served, bundle: "Bundle", found: pa.Table, wanted: pa.Table) -> "Drift":
    from fusc_pipeline.base.views import VIEWS
    from fusc_pipeline.service.drift import drift

    corpus = bundle.table(["image_id", "cluster", "view"])
    known = set(corpus.column("image_id").to_pylist())
    ids = found.column("image_id").to_pylist()
    subject = dict(zip(*(wanted.column(i).to_pylist() for i in (0, 1)), strict=True))
    raw = {identity: cluster for cluster, identity in enumerate(model.identities)}
    new = sum(image not in known for image in ids)
    labels = _labels(store, batch)
    named = [image for image in ids if labels.get(image) is not None]

    def counts(views) -> np.ndarray:
        return np.array([sum(view == name for view in views) for name in VIEWS])

    usual = counts(corpus.column("view").to_pylist())
    views = (counts([labels[i] for i in named]), usual, len(named), len({subject[i] for i in named}))
    return drift(
        clusters=np.array([raw[identity] for identity in found.column("cluster").to_pylist()], np.int64),
        confidences=found.column("confidence").to_numpy(),
        ood_scores=found.column("ood_score").to_numpy(),
        subjects=[subject[image] for image in ids],
        new=new,
        calibration=bundle.calibration(),
        usual_clusters=np.bincount(corpus.column("cluster").to_numpy(), minlength=len(model.identities)),
        views=views if named and usual.sum() else None,
        growth=(new + arrived_since(store, model, batch)) / max(1, bundle.facts.images["train"]),
    )


def arrived_since(store: Store, model: Served, without: str | None = None) -> int:
    """Frames of the batches assigned with this model (but for one) that it was neither trained nor tested on."""
    count = 0
    for batch in store.partitions(ASSIGNMENTS):
        record = store.record(ASSIGNMENTS, batch)
        if batch != without and record and record.metadata.get("model_version") == model.number:
            count += record.metadata["frames_new_to_model"]
    return count


def _labels(store: Store, batch: str) -> dict[str, str | None]:
    if store.record("pseudo_labels", batch) is None:
        return {}
    rows = store.table("pseudo_labels", batch, ["image_id", "view"])
    return dict(zip(*(rows.column(i).to_pylist() for i in (0, 1)), strict=True))


def _clusters_markdown(found: pa.Table) -> str:
    rows = found.group_by("cluster").aggregate([("image_id", "count"), ("confidence", "mean"), ("ood_score", "mean")])
    lines = ["| cluster | frames | mean confidence | mean unusualness |", "|--:|--:|--:|--:|"]
    for row in sorted(rows.to_pylist(), key=lambda row: -row["image_id_count"]):
        lines.append(
            f"| {row['cluster']} | {row['image_id_count']} | {row['confidence_mean']:.2f} "
            f"| {row['ood_score_mean']:.2f} |"
        )
    return "\n".join(lines)


def _least_sure(store: Store, batch: str, found: pa.Table) -> str:
    """The frames whose cluster is least sure, side by side."""
    some = found.sort_by("confidence").slice(0, SHOWN).column("image_id")
    images = pa.table({"image_id": some, "scan_batch": [batch] * len(some)})
    return image_strip([png for _, png in clean_pngs(store, images)])
