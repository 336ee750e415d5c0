"""Checks of what is in service: bundles are whole, numbers never reused, every image assigned, the model fits."""

import numpy as np

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.defs.engine.check import WARN, CheckedVersion, Finding, check, finding
from fusc_pipeline.defs.service.batch_assignments import DRIFT
from fusc_pipeline.service.in_service import ASSIGNMENTS, CANDIDATE, IN_SERVICE, served, served_after


@check(CANDIDATE, blocking=True)
def the_candidate_is_whole(made: CheckedVersion) -> Finding:
    """Every file of the candidate has the hash it was sealed with, and its rows belong together."""
    from fusc_pipeline.service.bundle import Bundle

    try:
        bundle = Bundle.open(made.folder, CANDIDATE)
        bundle.check(name=CANDIDATE)
    except BadInput as damage:
        return finding(False, str(damage))
    table, vectors = made.table(["cluster"]), bundle.vectors()
    clusters = table.column("cluster").to_numpy()
    outside = int(((clusters < 0) | (clusters >= bundle.facts.n_clusters)).sum())
    return finding(
        len(vectors) == table.num_rows and bool(np.isfinite(vectors).all()) and not outside,
        f"{len(vectors)} embeddings for {table.num_rows} images, {outside} clusters outside 0..K-1: materialise "
        f"{bundle.facts.row} and {CANDIDATE} again with force.",
        images=table.num_rows,
    )


@check(CANDIDATE, name="no_cluster_is_dead")
def no_cluster_of_it_is_dead(made: CheckedVersion) -> Finding:
    """Every cluster of the candidate holds an image of the corpus."""
    from fusc_pipeline.service.bundle import Bundle

    facts = Bundle.open(made.folder, CANDIDATE).facts
    filled = len(made.table(["cluster"]).column(0).unique())
    return finding(
        filled == facts.n_clusters,
        f"{facts.n_clusters - filled} of {facts.n_clusters} clusters hold no image: train {facts.row} longer, raise "
        "its entropy_weight, or ask for fewer clusters.",
        WARN,
        filled_clusters=filled,
    )


@check(IN_SERVICE, blocking=True)
def the_model_in_service_is_whole(made: CheckedVersion) -> Finding:
    """Every file of the model in service has the hash it was sealed with, each of its clusters a number of its own."""
    model = served_after(made.store, made.table().to_pylist())
    try:
        bundle = model.bundle()
        bundle.check(name=f"model {model.number}")
    except BadInput as damage:
        return finding(False, str(damage), model=model.number)
    return finding(
        len(set(model.identities)) == len(model.identities) == bundle.facts.n_clusters
        and bundle.facts.version == model.version,
        f"model {model.number} is another one than the history tells: put one in service by name (fusc models).",
        model=model.number,
    )


@check(IN_SERVICE, blocking=True)
def no_number_is_reused(made: CheckedVersion) -> Finding:
    """Each number stands for one model throughout the history, and its clusters' numbers never change."""
    rows = made.table().to_pylist()
    versions: dict[int, set] = {}
    maps: dict[int, set] = {}
    for row in rows:
        versions.setdefault(row["number"], set()).add(row["version"])
        if row["identity_map"] is not None:
            maps.setdefault(row["number"], set()).add(tuple(row["identity_map"]))
    twice = sorted(n for n in versions if len(versions[n]) > 1 or len(maps.get(n, ())) > 1)
    steps = [row["step"] for row in rows]
    # A number that came with a model is one that the model before it had, or one that none had so far.
    given: set[int] = set()
    now: set[int] = set()
    seen: set[int] = set()
    again: set[int] = set()
    for row in rows:
        mine = set(row["identity_map"] or ())
        if mine and row["number"] not in seen:
            again |= (mine & given) - now
            seen.add(row["number"])
        given |= mine
        now = mine if mine else now
    return finding(
        not twice and not again and steps == list(range(1, len(rows) + 1)),
        f"models {twice} stand for two, cluster numbers {sorted(again)} were given twice, or rows are missing: the "
        f"history of {IN_SERVICE} was changed by hand. Put back an earlier version of its folder.",
        rows=len(rows),
    )


@check(IN_SERVICE)
def the_last_candidate_was_not_worse(made: CheckedVersion) -> Finding:
    """The last model that was compared is not worse than the one that was in service then."""
    compared = [row for row in made.table().to_pylist() if row["measure"] is not None]
    if not compared:
        return finding(True, "", WARN)
    last = compared[-1]
    kept = "it was kept out of service" if last["in_service"] != last["number"] else "it is in service all the same"
    return finding(
        last["value"] >= last["value_in_service"] or last["risk"] <= 0.1,
        f"model {last['number']} has {last['measure']} {last['value']:.3f} against {last['value_in_service']:.3f} of "
        f"the model that was in service, on the same {last['images']} test images; {kept}. Look at its learning curves "
        "and at what the new batches hold.",
        WARN,
        value=last["value"],
        value_in_service=last["value_in_service"],
    )


@check(ASSIGNMENTS, blocking=True)
def every_image_is_assigned(made: CheckedVersion) -> Finding:
    """Each clean image of the batch is in one cluster, one that the model knows, with a finite confidence above 1/K."""
    import pyarrow.compute as pc

    files, batch = made.store, made.record.partition
    table = made.table(["image_id", "cluster", "confidence", "ood_score", "model_version"])
    clean = files.dataset("clean_images", batch).to_table(
        columns=["image_id"], filter=pc.field("quarantined").is_null()
    )
    ids = table.column("image_id").to_pylist()
    odd = len(set(ids) ^ set(clean.column(0).to_pylist())) + len(ids) - len(set(ids))
    model = served(files)
    numbers = set(table.column("model_version").unique().to_pylist())
    known = set(_identities(made, numbers)) if len(numbers) == 1 else set()
    strange = set(table.column("cluster").unique().to_pylist()) - known
    sure, unusual = table.column("confidence").to_numpy(), table.column("ood_score").to_numpy()
    least = 1 / max(1, len(known)) - 1e-4
    wrong = int((~((sure > least) & (sure <= 1 + 1e-5)) | ~((unusual >= 0) & (unusual <= 1))).sum())
    return finding(
        not ids or (not odd and not strange and not wrong and len(numbers) == 1),
        f"{odd} images are missing or there twice, clusters {sorted(strange)} are none of the model's, {wrong} "
        f"confidences or scores are no numbers in their range, models {sorted(numbers)}: materialise {ASSIGNMENTS} of "
        "this batch with force.",
        images=len(ids),
        model=model.number if model else None,
    )


def _identities(made: CheckedVersion, numbers: set[int]) -> list[int]:
    """Identities of the clusters of the model of this number, as the history has them."""
    rows = made.store.table(IN_SERVICE, columns=["number", "identity_map"]).to_pylist()
    return next((r["identity_map"] for r in rows if r["number"] in numbers and r["identity_map"] is not None), [])


@check(ASSIGNMENTS)
def model_still_fits(made: CheckedVersion) -> Finding:
    """The batch is like what the model in service was trained on, and not too many frames came since."""
    from fusc_pipeline.service.drift import Drift, Limits, verdict

    figures = Drift.of(made.record.metadata[DRIFT])
    words = verdict(figures, Limits())
    return finding(
        not words,
        f"renew the model (job renew_model, or fusc run): {'; '.join(words)}.",
        WARN,
        frames=figures.frames,
        unusual=figures.unusual.value,
        unsure=figures.unsure.value,
        clusters_beyond_chance=figures.clusters.beyond,
        growth=figures.growth,
    )
