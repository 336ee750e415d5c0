"""The candidate against the model in service, on the same test images. What follows from it: `service.promotion`."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fusc_pipeline.defs.dataset.corpus import also_known_as
from fusc_pipeline.defs.engine.arrays import label_numbers
from fusc_pipeline.defs.engine.networks import log_device
from fusc_pipeline.defs.service.served import apply_bundle
from fusc_pipeline.service.bundle import Bundle
from fusc_pipeline.service.comparison import Comparison, compare, neighbour_agreement
from fusc_pipeline.service.outliers import NEIGHBOURS
from fusc_pipeline.store.store import Store


def compare_models(
    context: Any, store: Store, config: Any, candidate: Bundle, in_service: Bundle, work: Path
) -> Comparison:
    """Both on the candidate's test images, without those of subjects that the model in service was trained on.

    The candidate's own test subjects were none of its training, but for those that an encoder before it saw: they are
    left out too. What the model in service said of an image is in its bundle when it was made from a corpus with that
    image; it is applied to the others only.
    """
    table = candidate.table()
    before = in_service.table(["image_id", "subject_key", "split", "cluster"])
    trained_on = {r["subject_key"] for r in before.to_pylist() if r["split"] == "train"}
    trained_on.update(in_service.facts.trained_on, candidate.facts.trained_on)
    trained_on = also_known_as(store, trained_on)
    test = [split == "test" for split in table.column("split").to_pylist()]
    fair = [t and s not in trained_on for t, s in zip(test, table.column("subject_key").to_pylist(), strict=True)]
    images = table.filter(pa.array(fair))
    ids = images.column("image_id").to_pylist()
    subjects = np.array(images.column("subject_key").to_pylist())
    left_out = sum(test) - len(ids)
    if not ids:
        nothing = np.zeros(0)
        none = (nothing, nothing)
        return compare(nothing.astype(int), nothing, nothing, (none, none), subjects, left_out)
    first = _said(candidate, images, {})
    applied = _applied(context, store, config, in_service, images, work)
    second = _said(in_service, images, applied)
    agreement = (first.agreement, second.agreement)
    return compare(label_numbers(images, ids), first.clusters, second.clusters, agreement, subjects, left_out)


class _Said:
    def __init__(self, clusters: np.ndarray, agreement: tuple[np.ndarray, np.ndarray]):
        self.clusters, self.agreement = clusters, agreement


def _said(bundle: Bundle, images: pa.Table, applied: dict[str, tuple[int, np.ndarray]]) -> _Said:
    """A model's clusters of the images, and how far their nearest training images share them."""
    from fusc_pipeline.representation.neighbors import nearest_neighbors

    own, vectors = bundle.table(["image_id", "split", "cluster"]), bundle.vectors()
    own_ids, clusters = np.array(own.column("image_id").to_pylist()), own.column("cluster").to_numpy()
    train = np.array(own.column("split").to_pylist()) == "train"
    place = {image: i for i, image in enumerate(own_ids.tolist())}
    ids = images.column("image_id").to_pylist()
    said = [applied[image] if image in applied else (clusters[place[image]], vectors[place[image]]) for image in ids]
    found = np.array([cluster for cluster, _ in said], np.int64)
    near, _ = nearest_neighbors(vectors[train], own_ids[train], np.stack([v for _, v in said]), ids, NEIGHBOURS)
    return _Said(found, neighbour_agreement(found, clusters[train], near, bundle.facts.n_clusters))


def _applied(
    context: Any, store: Store, config: Any, bundle: Bundle, images: pa.Table, work: Path
) -> dict[str, tuple[int, np.ndarray]]:
    """image_id → (cluster, embedding) of the images that are new to the bundle."""
    known = set(bundle.table(["image_id"]).column(0).to_pylist())
    new = images.filter(pa.array([image not in known for image in images.column("image_id").to_pylist()]))
    if not new.num_rows:
        return {}
    bundle.check()
    compute = config.compute()
    log_device(context, compute)
    found = {}
    for piece in apply_bundle(bundle, compute, store, new, work):
        for image, cluster, vector in zip(piece.ids, piece.probabilities.argmax(1), piece.vectors, strict=True):
            found[image] = (int(cluster), vector)
    return found
