"""The generalisation test: finished models applied to external batches, which nothing was trained on.

Scoring is `evaluation.external`'s, how a model is applied its own `Row`'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.schemas import EXTERNAL_PURITY
from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline.defs.dataset.corpus import own_facts, ready_batches
from fusc_pipeline.defs.engine.networks import ComputeConfig, ImagePixels, log_device
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.evaluation.reports import rows_to_score
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.store import Store

PREDICTIONS = "predictions.parquet"
PREDICTED = pa.schema(
    [
        ("scan_batch", pa.string()),
        ("image_id", pa.string()),
        ("model", pa.string()),
        ("n_clusters", pa.int32()),
        ("seed", pa.int32()),
        ("cluster", pa.int32()),
        ("confidence", pa.float32()),
    ]
)
NO_BATCH = "there is no external batch; add another data set with `fusc add-batch <folder> --external`"
_MADE_BEFORE = tuple(dict.fromkeys(name for row in MODELS.values() for name in row.upstream))


class ExternalPurityConfig(ComputeConfig):
    """What is scored."""

    exclude: list[str] = Field(
        default=["Other"], description="Classes that are left out, in any case (the paper leaves out Other)."
    )


@stored_asset(
    deps=["scans", "pseudo_labels", "clean_images", "corpus", *_MADE_BEFORE],
    group="evaluation",
    kinds={"pytorch", "parquet"},
    code_version="1",
    gpu=True,
)
def external_purity(context: Request, config: ExternalPurityConfig, store: Store) -> Work:
    """The paper's generalisation test: finished models put another data set's images into their clusters, as they are.

    Scored against that set's own labels (else its pseudo-labels) at every K a model has and at K = its classes, where
    k-means is fitted on the corpus. An image that the corpus holds too is left out and counted.
    """
    _, batches, refused = ready_batches(store)
    for batch, words in refused.items():
        context.log.warning(f"external_purity: batch {batch} is left out, it failed a check ({words})")
    models = rows_to_score(store, context.log) if batches else []
    upstream = sorted({"corpus", *(name for model in models for name in MODELS[model].upstream)}) if batches else []
    versions = {
        f"{asset}/{batch}": record.data_version
        for batch in batches
        for asset in ("scans", "pseudo_labels", "clean_images")
        if (record := store.record(asset, batch))
    }

    def produce(draft):
        import pyarrow.parquet as pq

        from fusc_pipeline.report.external_section import preview

        rows: list[dict] = []
        predicted: list[pa.Table] = []
        empty: list[str] = []
        compute = config.compute() if batches else None
        if batches:
            log_device(context.run, compute)
        for batch in batches:
            images = _read(store, batch, config.exclude)
            if images is None:
                empty.append(batch)
                continue
            for row, predictions in _apply(store, compute, images, models, context.log):
                rows.append(row)
                predicted += predictions
        table = pa.Table.from_pylist(rows, schema=EXTERNAL_PURITY)
        draft.write_table(table)
        pq.write_table(pa.concat_tables([PREDICTED.empty_table(), *predicted]), draft.path(PREDICTIONS))
        draft.metadata |= {"dagster/row_count": len(rows), "external_batches": len(batches)}
        if not batches:
            draft.metadata["figures"] = NO_BATCH
        else:
            none = "no model was made, or no image is left to score"
            draft.metadata["figures"] = {"md": preview(table.to_pandas())} if rows else none
        if empty:
            draft.metadata["batches_without_an_image_to_score"] = ", ".join(empty)

    from fusc_pipeline.text.lexicon import lexicon_identity

    lexicon = lexicon_identity() if batches else {}  # which classes no view shows
    return Work(produce, upstream=upstream, inputs=versions, extra=lexicon, holds=[TABLE, PREDICTIONS])


@dataclass(frozen=True)
class _Images:
    """What is scored of a batch: table (image_id, scan_batch) and, in its order, what `known` says of each image."""

    table: pa.Table
    known: Any  # evaluation.external.ExternalSet


def _read(store: Store, batch: str, exclude: Sequence[str]) -> _Images | None:
    """The batch's clean images that are not excluded and not in the corpus, with their labels; None without any."""
    from fusc_pipeline.evaluation.external import ExternalSet
    from fusc_pipeline.scans.datasets import plane_of

    own = {name: facts["own_label"] for name, facts in own_facts(store, batch).items() if facts["own_label"]}
    if own:
        source, labels = "own_label", {name: plane_of(label) for name, label in own.items()}
    else:
        rows = store.table("pseudo_labels", batch, ["image_id", "view"]).to_pylist()
        labels = {row["image_id"]: row["view"] for row in rows if row["view"] is not None}
        source = "pseudo_label" if labels else "none"
    left_out = {name.casefold() for name in exclude}
    trained_on = set(store.table("corpus", columns=["image_id"]).column(0).to_pylist())
    clean = store.table("clean_images", batch, ["image_id", "quarantined"]).to_pylist()
    ids = [row["image_id"] for row in clean if row["quarantined"] is None]
    fresh = [name for name in ids if name not in trained_on]
    scored = [name for name in fresh if (labels.get(name) or "").casefold() not in left_out]
    if not scored:
        return None
    found = [labels.get(name) for name in scored]
    classes = sorted({label for label in found if label is not None})
    record = store.record("scans", batch)
    known = ExternalSet(
        scan_batch=batch,
        data_set=record.metadata.get("layout", "plain") if record else "plain",
        label_source=source,
        labels=found,
        unseen=[label for label in classes if not _views_of(label)],
        n_excluded=len(fresh) - len(scored),
        n_in_corpus=len(ids) - len(fresh),
    )
    return _Images(pa.table({"image_id": scored, "scan_batch": pa.array([batch] * len(scored))}), known)


def _views_of(label: str) -> tuple[str, ...]:
    """The views that a data set's label speaks of; none: a class no pseudo-label corresponds to."""
    from fusc_pipeline.base.views import VIEWS
    from fusc_pipeline.scans.datasets import PLANE_VIEWS
    from fusc_pipeline.text.lexicon import views_named

    if label in VIEWS:
        return (label,)
    return PLANE_VIEWS[label] if label in PLANE_VIEWS else tuple(match.view for match in views_named(label))


def _apply(
    store: Store, compute: Any, images: _Images, models: Sequence[str], log: Any
) -> Iterator[tuple[dict, list[pa.Table]]]:
    """(row of `EXTERNAL_PURITY`, tables of PREDICTED) of every fit of every model, and of K = classes."""
    known = images.known
    cleaned = store.require("clean_images", known.scan_batch).data_version
    version = digest(["external", known.scan_batch, cleaned, images.table.column("image_id").to_pylist()])

    @cache
    def seen_at(size: int, resize: str) -> ImagePixels:
        return ImagePixels(store, images.table, version, size, resize)

    for model in models:
        row = MODELS[model]
        fits = _fits(store, model)
        if not fits:
            continue
        settings = store.require(row.sees).config
        pixels = seen_at(settings["image_size"], settings["resize"])
        log.info(f"external_purity: {model}, {len(fits)} fits, {len(pixels.ids)} images of {known.scan_batch}")
        for k, seed in fits:
            yield _scored(known, model, k, seed, pixels, row.predict(store, compute, k, seed, pixels))
        k = known.n_classes
        if k < 2 or not row.fits_of or k in {fitted for fitted, _ in fits}:
            continue
        if row.refit is None:
            yield known.not_fitted(model, k, f"not fitted: add {k} to {row.fits_of}.n_clusters"), []
            continue
        for seed in sorted({seed for _, seed in fits}):
            found = row.refit(store, compute, k, seed, pixels)
            yield _scored(known, model, k, seed, pixels, found, "fitted here, on the corpus's train split")


def _fits(store: Store, model: str) -> list[tuple[int, int]]:
    """(K, seed) of the model's fits."""
    table = store.table(model, columns=["n_clusters", "seed"]).group_by(["n_clusters", "seed"]).aggregate([])
    return sorted((row["n_clusters"], row["seed"]) for row in table.to_pylist())


def _scored(
    known: Any, model: str, k: int, seed: int, pixels: ImagePixels, probabilities: np.ndarray, note: str | None = None
) -> tuple[dict, list[pa.Table]]:
    clusters = probabilities.argmax(1)
    n = len(clusters)
    columns = {
        "scan_batch": [known.scan_batch] * n,
        "image_id": pixels.ids,
        "model": [model] * n,
        "n_clusters": [k] * n,
        "seed": [seed] * n,
        "cluster": clusters,
        "confidence": probabilities.max(1),
    }
    return known.scored(model, k, seed, clusters, note), [pa.table(columns, schema=PREDICTED)]
