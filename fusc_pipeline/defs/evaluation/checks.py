"""Checks that warn of a worse model: purity below the version before, clusters without an image."""

from collections.abc import Iterable

import pyarrow as pa

from fusc_pipeline.base.schemas import PURITY
from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline.defs.engine.check import WARN, CheckedVersion, Finding, check, finding
from fusc_pipeline.store.store import Record

DROP = 0.05  # of cluster purity on the test split, mean over seeds
_SCORED = ["model", "n_clusters", "seed", "split", "label_set", "cluster_purity", "filled_clusters"]


@check("purity_report")
def purity_did_not_drop(made: CheckedVersion) -> Finding:
    """No model is markedly less pure on the test split than in the version of this report before."""
    before = _before(made)
    if before is None:
        return finding(True, "", compared="there is no version before this one")
    old, new = (_means(_rows(made, record)) for record in (before, made.record))
    fallen = {fit: (old[fit], new[fit]) for fit in new.keys() & old.keys() if new[fit] < old[fit] - DROP}
    told = "; ".join(f"{model} at K {k}: {was:.2f}, now {now:.2f}" for (model, k), (was, now) in sorted(fallen.items()))
    return finding(
        not fallen,
        f"purity on the test split fell: {told}. Look at what changed (the settings of what this report is made of, "
        "new batches and their labels) before these models go into service.",
        WARN,
        compared=len(new.keys() & old.keys()),
        before=before.fingerprint[:16],
    )


@check("purity_report")
def no_cluster_is_dead(made: CheckedVersion) -> Finding:
    """Every cluster of every fit holds an image of the train split."""
    # Where the method itself gives K (the supervised line has one for each view), a view that is not there is no fault.
    asked = {name for name, row in MODELS.items() if row.fits_of}
    rows = [row for row in _rows(made, made.record) if row["split"] == "train" and row["label_set"] == "views"]
    rows = [row for row in rows if row["model"] in asked]
    dead: dict[tuple[str, int], int] = {}
    for row in rows:
        if row["filled_clusters"] < row["n_clusters"]:
            fit = (row["model"], row["n_clusters"])
            dead[fit] = max(dead.get(fit, 0), row["n_clusters"] - row["filled_clusters"])
    told = "; ".join(f"{model}: up to {count} of {k}" for (model, k), count in sorted(dead.items()))
    return finding(
        not dead,
        f"clusters hold no image of the train split: {told}. Ask for fewer (n_clusters), or give the even use of "
        "clusters more weight (entropy_weight of the FUSC assets); the figures of the others stay valid.",
        WARN,
        fits=len(rows),
    )


def _before(made: CheckedVersion) -> Record | None:
    """The newest kept version made before this one."""
    earlier = (r for r in made.store.versions(made.record.asset) if r.created < made.record.created)
    return next(earlier, None)


def _rows(made: CheckedVersion, record: Record) -> list[dict]:
    import pyarrow.parquet as pq

    table: pa.Table = pq.ParquetFile(made.store.place(record) / "table.parquet").read()
    known = [name for name in _SCORED if name in table.column_names and name in PURITY.names]
    return table.select(known).to_pylist()


def _means(rows: Iterable[dict]) -> dict[tuple[str, int], float]:
    """(model, K) → mean cluster purity on the test split's views, over seeds."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if (row["split"], row["label_set"]) == ("test", "views") and row["cluster_purity"] is not None:
            found.setdefault((row["model"], row["n_clusters"]), []).append(row["cluster_purity"])
    return {fit: sum(values) / len(values) for fit, values in found.items()}
