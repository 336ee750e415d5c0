"""One asset, several fits: every K with every seed, each kept once it is done. Which model it is, the caller says.

`Row` is what the tables need to know of a model: its asset, and how its fits are applied to images they never saw.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.schemas import CLUSTERS
from fusc_pipeline.defs.engine.networks import (
    ComputeConfig,
    ImagePixels,
    ModelFiles,
    load_weights,
    save_weights,
    write_history,
)
from fusc_pipeline.host.atomic import link, whole_folder
from fusc_pipeline.store.store import Draft, Store
from fusc_pipeline.store.whole import HISTORY, fit_files, fit_name

# (store, compute, K, seed, images) → (N, K) float32, rows sum to 1: the fit applied to these images, nothing trained.
log = logging.getLogger(__name__)
_ROWS = "rows.parquet"
Predict = Callable[[ModelFiles, Any, int, int, ImagePixels], np.ndarray]
Refit = Callable[[Store, Any, int, int, ImagePixels], np.ndarray]


@dataclass(frozen=True)
class Row:
    """A row of the tables.

    asset: makes the fits, and a table of them; method: which of the paper's; encoder: the one it stands on, empty where
    it trains a network of its own; predict: a finished fit applied to any images; sees: the asset whose
    `image_size` and `resize` say how its images look; reads: further assets that `predict` needs, beside `asset`.
    fits_of: the asset whose n_clusters says which K are fitted, empty where K is given by the method. refit: as
    `predict` for a K without a fit, where fitting one on the corpus costs next to nothing.
    """

    asset: dg.AssetsDefinition
    method: str
    predict: Predict
    sees: str
    encoder: str = ""
    reads: tuple[str, ...] = ()
    fits_of: str = ""
    refit: Refit | None = None

    @property
    def name(self) -> str:
        """The asset's name."""
        return self.asset.key.to_user_string()

    @property
    def upstream(self) -> tuple[str, ...]:
        """Every asset that decides what `predict` says."""
        return tuple(dict.fromkeys((self.name, self.sees, *self.reads)))


class FitsConfig(ComputeConfig):
    """Which fits are made."""

    n_clusters: list[int] = Field(
        default=[15], description="Numbers of clusters K, each 2 or more (the paper: 4, 15, 120)."
    )
    seeds: list[int] = Field(default=[0, 1, 2], description="Random seeds; figures are given as mean ± sd over them.")

    def count(self) -> int:
        """How many fits that makes."""
        return len(self.n_clusters) * len(self.seeds)

    def holds(self) -> list[str]:
        """The files that an asset of these fits must hold."""
        return fit_files(self.n_clusters, self.seeds)


def fit_each(
    draft: Draft,
    n_clusters: Sequence[int],
    seeds: Sequence[int],
    fit: Callable[[int, int], tuple[pa.Table, dict[str, Any], list[dict[str, Any]]]],
) -> list[dict[str, Any]]:
    """Run `fit(K, seed)` → (rows, weights, history) for every K and seed, write table, weights and histories.

    A finished fit is kept in the draft's work folder, so a killed run repeats only the one it was in.
    """
    if not n_clusters or not seeds:
        raise BadSetting("n_clusters and seeds must each name at least one number, e.g. n_clusters: [15], seeds: [0]")
    if wrong := [k for k in n_clusters if k < 2]:
        raise BadSetting(f"n_clusters holds {wrong[0]}; every K must be 2 or more")
    import pyarrow.parquet as pq

    tables, histories = [], []
    for k in dict.fromkeys(n_clusters):
        for seed in dict.fromkeys(seeds):
            name = fit_name(k, seed)
            kept = draft.work / f"{name}.done"
            if not _is_whole(kept, name):
                _keep(kept, name, *fit(k, seed))
            tables.append(pq.read_table(kept / _ROWS, schema=CLUSTERS))
            histories.append({"n_clusters": k, "seed": seed, "history": json.loads((kept / HISTORY).read_text())})
            # A second name, not a move: were this run killed now, the work folder would be all that is left.
            link(kept / f"{name}.safetensors", draft.path(f"{name}.safetensors"))
    count = draft.write_table(iter(tables))
    write_history(draft, histories)
    draft.metadata |= {"dagster/row_count": count, "fits": len(tables), "made": {"md": _fits_markdown(tables)}}
    return histories


def _is_whole(folder: Path, name: str) -> bool:
    """Whether a finished fit is there and can be read. One that a power loss or an earlier release spoilt is not."""
    import pyarrow.parquet as pq
    from safetensors import SafetensorError, safe_open

    if not folder.is_dir():
        return False
    try:
        pq.read_table(folder / _ROWS, schema=CLUSTERS)
        json.loads((folder / HISTORY).read_text())
        with safe_open(folder / f"{name}.safetensors", "numpy") as weights:  # reads the head, and compares the size
            return bool(weights.keys())
    except (OSError, ValueError, SafetensorError) as damage:
        log.warning("the finished fit %s cannot be read (%s); it is made again", name, type(damage).__name__)
        return False


def _keep(folder: Path, name: str, rows: pa.Table, weights: dict[str, Any], history: list[dict[str, Any]]) -> None:
    """Keep a finished fit, whole or not at all."""
    import pyarrow.parquet as pq

    with whole_folder(folder) as building:
        pq.write_table(rows, building / _ROWS)
        save_weights(building / f"{name}.safetensors", weights)
        (building / HISTORY).write_text(json.dumps(history))


def _fits_markdown(tables: Sequence[pa.Table]) -> str:
    """How each fit fills its clusters, and how sure it is."""
    import pyarrow.compute as pc

    lines = ["| K | seed | filled | largest cluster | mean confidence |", "|--:|--:|--:|--:|--:|"]
    for table in tables:
        sizes = [row["counts"] for row in table.column("cluster").value_counts().to_pylist()]
        confidence = pc.mean(table.column("confidence")).as_py()
        first = table.slice(0, 1).to_pylist()[0]
        lines.append(
            f"| {first['n_clusters']} | {first['seed']} | {len(sizes)} | {max(sizes) / table.num_rows:.1%} "
            f"| {confidence:.3f} |"
        )
    return "\n".join(lines)


def load_fit(store: ModelFiles, asset: str, n_clusters: int, seed: int) -> dict[str, Any]:
    """The weights of one fit, as `fit_each` was given them."""
    return load_weights(store.folder(asset) / f"{fit_name(n_clusters, seed)}.safetensors")
