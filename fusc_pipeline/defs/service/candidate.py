"""How a candidate is packed: one fit of one row of the tables, with all that applying it needs, tried first.

The asset itself, and what becomes of a candidate, is `service`'s part.
"""

import json
import time
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.schemas import CANDIDATE_MODEL
from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.defs.clustering.fits import Row
from fusc_pipeline.defs.dataset.corpus import also_known_as
from fusc_pipeline.defs.engine.arrays import embedding_arrays, label_numbers
from fusc_pipeline.defs.engine.networks import WEIGHTS, log_device
from fusc_pipeline.defs.representation.encoders import PROJECTION
from fusc_pipeline.defs.service.served import Applied, apply_bundle
from fusc_pipeline.service.bundle import FACTS, Bundle, BundleFacts, Part, seal, write_arrays, write_part
from fusc_pipeline.service.in_service import CANDIDATE, models_folder
from fusc_pipeline.service.outliers import NEIGHBOURS, Calibration
from fusc_pipeline.store.store import Draft, Store
from fusc_pipeline.store.whole import HISTORY, fit_name

if TYPE_CHECKING:
    import dagster as dg

TRIED = 32  # images of the test split that the packed model is applied to
SAME_CONFIDENCE, LEAST_SAME = 0.02, 0.9


def build_candidate(
    context: "dg.AssetExecutionContext", store: Store, config: Any, draft: Draft, row: Row, inputs: list[str]
) -> None:
    """Write the bundle of the row's chosen fit into the draft. Raises BadInput when what it is made from does not
    belong together, or when the packed model says other than the tables."""
    from fusc_pipeline.representation.neighbors import nearest_neighbors

    if before := store.outdated_by(row.name):
        raise BadInput(
            f"{row.name} was made from another {before} than the present one; materialise it again, then {CANDIDATE}"
        )
    compute = config.compute()
    log_device(context, compute)
    encoder = row.encoder
    n_clusters, seed = chosen_fit(store, row.name, config.n_clusters, config.seed)
    table, vectors = _images(store, row.name, encoder, n_clusters, seed)
    ids, splits = np.array(table.column("image_id").to_pylist()), np.array(table.column("split").to_pylist())
    clusters, confidences = table.column("cluster").to_numpy(), table.column("confidence").to_numpy()
    seen = also_known_as(store, _seen_before(context, store, encoder))
    new = np.array([subject not in seen for subject in table.column("subject_key").to_pylist()])
    train, test = splits == "train", splits == "test"
    held_out = test & new if (test & new).any() else test
    near, similarities = nearest_neighbors(vectors[train], ids[train], vectors[held_out], ids[held_out], NEIGHBOURS)
    draft.write_table(table)
    write_arrays(draft.folder, vectors, Calibration.of(similarities, confidences[held_out]))
    parts: dict[str, Part] = {}
    for asset in dict.fromkeys((row.name, f"{encoder}_encoder", f"{encoder}_embeddings", *row.upstream)):
        record = store.require(asset)
        parts[asset] = Part(record.config, record.data_version)
        write_part(draft.folder, asset, _weights(store, row, asset, n_clusters, seed))
    labels = label_numbers(table, ids)
    figures = _figures(labels[held_out], clusters[held_out], clusters[train], near, n_clusters)
    facts = BundleFacts(
        version=draft.recipe.fingerprint({name: store.require(name).data_version for name in inputs}),
        row=row.name,
        encoder=encoder,
        n_clusters=n_clusters,
        seed=seed,
        parts=parts,
        images={"train": int(train.sum()), "test": int(test.sum())},
        evaluation=figures,
        provenance={
            "inputs": {name: store.require(name).data_version for name in inputs},
            "code_versions": {name: store.require(name).code_version for name in inputs},
            "settings": dict(draft.recipe.config),
            "fusc_pipeline": metadata.version("fusc_pipeline"),
        },
        created=time.time(),
        trained_on=sorted(seen),
    )
    bundle = seal(draft.folder, facts)
    draft.tells(FACTS, asdict(facts) | {"created": None})  # packed again from the same, it is the same candidate
    same = _tried(bundle, compute, store, table, vectors, draft)
    draft.metadata |= {
        "dagster/row_count": table.num_rows,
        "made_of": f"{row.name}, K {n_clusters}, seed {seed}",
        "training_images": facts.images["train"],
        "says_the_same_as_the_tables": same,
        **{name: round(value, 4) for name, value in figures.items() if value is not None},
    }


def _seen_before(context: "dg.AssetExecutionContext", store: Store, encoder: str) -> set[str]:
    """Subjects that the encoder saw in the model it was trained on from (`warm_start`), and in those before that."""
    number = store.require(f"{encoder}_encoder").metadata.get("started_from_model")
    if not number:
        return set()
    try:
        bundle = Bundle.open(models_folder(store, number), f"model {number}")
    except BadInput as gone:
        context.log.warning(f"{CANDIDATE}: which subjects model {number} was trained on is not known any more ({gone})")
        return set()
    rows = bundle.table(["subject_key", "split"]).to_pylist()
    return {row["subject_key"] for row in rows if row["split"] == "train"} | set(bundle.facts.trained_on)


def chosen_fit(store: Store, row: str, n_clusters: int, seed: int) -> tuple[int, int]:
    """(K, seed) of the fit that is packed: K nearest to the one asked for, the smaller of two; that seed, or for −1
    the seed whose training ended at the lowest loss (the lowest seed where there is none). Raises BadInput when the
    seed was not fitted."""
    made = store.table(row, columns=["n_clusters", "seed"]).group_by(["n_clusters", "seed"]).aggregate([]).to_pylist()
    if not made:
        raise BadInput(f"{row} holds no fit; materialise it again with force")
    k = min({fit["n_clusters"] for fit in made}, key=lambda fitted: (abs(fitted - n_clusters), fitted))
    seeds = sorted(fit["seed"] for fit in made if fit["n_clusters"] == k)
    if seed >= 0:
        if seed not in seeds:
            raise BadInput(f"{CANDIDATE}.seed is {seed}, but {row} has K {k} with the seeds {seeds} only; add it there")
        return k, seed
    losses = {}
    for fit in json.loads((store.folder(row) / HISTORY).read_text()):
        if fit["n_clusters"] == k and fit["history"] and "loss" in fit["history"][-1]:
            losses[fit["seed"]] = fit["history"][-1]["loss"]
    return k, min(seeds, key=lambda one: (losses.get(one, float("inf")), one))


def _images(store: Store, row: str, encoder: str, n_clusters: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """The corpus with the fit's clusters (CANDIDATE_MODEL), and its embeddings (N, d) in the same order."""
    import pyarrow.compute as pc

    fit = store.dataset(row).to_table(
        filter=(pc.field("n_clusters") == n_clusters) & (pc.field("seed") == seed),
        columns=["image_id", "split", "cluster", "confidence"],
    )
    ids, _, vectors = embedding_arrays(store.table(f"{encoder}_embeddings"))
    place = {image: i for i, image in enumerate(ids.tolist())}
    corpus = {r["image_id"]: r for r in store.table("corpus").to_pylist()}
    rows = [
        {**{name: corpus[r["image_id"]][name] for name in ("scan_batch", "subject_key", "view")}, **r}
        for r in fit.to_pylist()
    ]
    order = [place[r["image_id"]] for r in rows]
    return pa.Table.from_pylist(rows, schema=CANDIDATE_MODEL), vectors[order]


def _weights(store: Store, row: Row, asset: str, n_clusters: int, seed: int) -> dict[str, Any]:
    """name → path of the files of an asset that applying the fit reads; none where its settings are enough."""
    folder = store.folder(asset)
    if asset == row.name:
        names = [f"{fit_name(n_clusters, seed)}.safetensors"]
    else:
        names = [name for name in (WEIGHTS, PROJECTION) if name in store.require(asset).files]
    return {name: folder / name for name in names}


def _figures(
    labels: np.ndarray, clusters: np.ndarray, train_clusters: np.ndarray, near: np.ndarray, n_clusters: int
) -> dict[str, Any]:
    """Figures on the test split: those of the tables where there are labels, and what needs none."""
    from fusc_pipeline.evaluation.metrics import score
    from fusc_pipeline.service.comparison import beyond_chance, neighbour_agreement

    found = score([None if label < 0 else VIEWS[label] for label in labels], clusters, n_clusters)
    agreement = neighbour_agreement(clusters, train_clusters, near, n_clusters)
    return {
        "test_images": len(labels),
        "labelled": found.n,
        "cluster_purity": found.cluster_purity,
        "nmi": found.nmi,
        "majority_share": found.majority_share,
        "filled_clusters": found.filled_clusters,
        "neighbour_agreement": beyond_chance(*agreement, np.ones(len(labels))),
    }


def _tried(bundle: Bundle, compute: Any, store: Store, table: pa.Table, vectors: np.ndarray, draft: Draft) -> float:
    """Apply the packed model to some test images; the share of which it says what the tables say. BadInput when low."""
    test = np.flatnonzero(np.array(table.column("split").to_pylist()) == "test")
    rows = test[np.linspace(0, len(test) - 1, min(TRIED, len(test))).astype(int)]
    some = table.take(pa.array(rows))
    known = {image: place for image, place in zip(some.column("image_id").to_pylist(), rows, strict=True)}
    clusters, sure = table.column("cluster").to_numpy(), table.column("confidence").to_numpy()

    def same(one: Applied) -> np.ndarray:
        places = np.array([known[image] for image in one.ids])
        alike = (one.vectors * vectors[places]).sum(1) > 1 - SAME_CONFIDENCE
        cluster = one.probabilities.argmax(1) == clusters[places]
        near = np.abs(one.probabilities[np.arange(len(places)), clusters[places]] - sure[places]) < SAME_CONFIDENCE
        return alike & (cluster | near)

    share = float(np.concatenate([same(one) for one in apply_bundle(bundle, compute, store, some, draft.work)]).mean())
    if share < LEAST_SAME:
        raise BadInput(
            f"the packed model says other than {bundle.facts.row}'s table of {1 - share:.0%} of {len(rows)} images: "
            "its weights and its table do not belong together; materialise it with force"
        )
    return share
