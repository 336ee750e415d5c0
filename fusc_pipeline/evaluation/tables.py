"""The table of figures: one row per model, K, seed and split; its mean and spread over seeds; its chance line."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa

from fusc_pipeline.base import schemas
from fusc_pipeline.base.views import GROUP_OF
from fusc_pipeline.evaluation import metrics
from fusc_pipeline.evaluation.assignments import as_frame, fits, labelled_clusters

FIGURES = ("cluster_purity", "nmi", "ari", "accuracy", "macro_recall")


def purity_table(assignments: Mapping[str, pa.Table | pd.DataFrame], corpus: pa.Table | pd.DataFrame) -> pa.Table:
    """Every figure of every fit: `assignments` maps a model's name to its `schemas.CLUSTERS` table.

    Returns a table of `schemas.PURITY` in the order of `assignments`, then K, seed, train before test, each scored
    against the views and against the groups that the paper's Table 2 merges them into.
    Raises BadInput when a model's table was not made from this corpus.
    """
    rows = []
    for model, clusters in assignments.items():
        for n_clusters, seed, split, fit in fits(labelled_clusters(model, clusters, corpus)):
            found = {"model": model, "n_clusters": n_clusters, "seed": seed, "split": split}
            views = fit["view"].tolist()
            for label_set, labels in (("views", views), ("groups", merged(views))):
                scores = metrics.score(labels, fit["cluster"].to_numpy(), n_clusters)
                rows.append({**found, "label_set": label_set, **asdict(scores)})
    return pa.Table.from_pylist(rows, schema=schemas.PURITY)


def merged(views: Sequence[str | None]) -> list[str | None]:
    """Each view's group of `views.VIEW_GROUPS`; a label that is no view of the paper is none."""
    return [GROUP_OF.get(view) if isinstance(view, str) else None for view in views]


def summarise(purity: pa.Table | pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation over seeds of a `schemas.PURITY` table: a row per model, K, split, label set.

    Columns: model, n_clusters, split, label_set, seeds (how many), n, n_unlabelled, majority_share, and for each figure
    and `filled_clusters` its mean under its own name and its deviation under `<name>_sd` (NaN with a single seed).
    The order of models is kept.
    """
    purity = as_frame(purity)
    rows = []
    by = ["model", "n_clusters", "split", "label_set"]
    for (model, n_clusters, split, label_set), seeds in purity.groupby(by, sort=False):
        row = {"model": model, "n_clusters": int(n_clusters), "split": split, "label_set": label_set}
        row["seeds"] = len(seeds)
        row |= {name: int(seeds[name].iloc[0]) for name in ("n", "n_unlabelled")}
        row["majority_share"] = seeds["majority_share"].astype(float).iloc[0]
        for name in (*FIGURES, "filled_clusters"):
            values = seeds[name].astype(float)
            row |= {name: values.mean(), f"{name}_sd": values.std(ddof=1)}
        rows.append(row)
    return pd.DataFrame(rows)


def chance_line(fit: pd.DataFrame, n_clusters: int, draws: int = 100, seed: int = 0) -> dict[str, float] | None:
    """Mean of each figure when the labels of one fit's rows (`view`, `cluster`) are shuffled among its groups.

    Purity and NMI of random groups rise with K and with small n; a figure means something only above this line.
    None when no image has a label.
    """
    known = metrics.has_label(fit["view"].tolist())
    if not known.any():
        return None
    labels = fit["view"].to_numpy(dtype=object)[known].astype(str)
    clusters = fit["cluster"].to_numpy()[known]
    rng = np.random.default_rng(seed)
    shuffled = [asdict(metrics.score(rng.permutation(labels).tolist(), clusters, n_clusters)) for _ in range(draws)]
    return {name: float(np.mean([scores[name] for scores in shuffled])) for name in FIGURES}


def chance_lines(rows: pd.DataFrame, seed: int, draws: int = 100) -> dict[int, dict[str, float]]:
    """K → `chance_line` of one model's fits with this seed, on the test split; empty when it has no label.

    `rows` are the model's `assignments.labelled_clusters`.
    """
    test = {k: fit for k, fit_seed, split, fit in fits(rows) if split == "test" and fit_seed == seed}
    lines = {k: chance_line(fit, k, draws, seed) for k, fit in test.items()}
    return {k: line for k, line in lines.items() if line is not None}


def percent(mean: float | None, sd: float | None = None) -> str:
    """A share as per cent, "71.2" or "71.2 ± 3.3"; "–" when there is none."""
    if mean is None or np.isnan(mean):
        return "–"
    return f"{100 * mean:.1f}" + ("" if sd is None or np.isnan(sd) else f" ± {100 * sd:.1f}")


def count(mean: float, sd: float | None = None) -> str:
    """A mean count: "15" when every seed agrees, else "14.3 ± 0.6"."""
    if sd is None or np.isnan(sd) or sd == 0:
        return f"{mean:g}"
    return f"{mean:.1f} ± {sd:.1f}"


def summary_markdown(purity: pa.Table | pd.DataFrame, split: str = "test") -> str:
    """The summary of one split as a small Markdown table, for asset metadata. Figures in per cent."""
    summary = summarise(purity)
    summary = summary[(summary["split"] == split) & (summary["label_set"] == "views")] if len(summary) else summary
    if summary.empty:
        return f"No model has images in the {split} split."
    lines = [
        "| model | K | CP % | NMI % | ARI % | ACC % | macro recall % | filled | n | seeds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in summary.to_dict("records"):
        figures = " | ".join(percent(row[name], row[f"{name}_sd"]) for name in FIGURES)
        filled = count(row["filled_clusters"], row["filled_clusters_sd"])
        lines.append(f"| {row['model']} | {row['n_clusters']} | {figures} | {filled} | {row['n']} | {row['seeds']} |")
    first = summary.iloc[0]
    if first["n"]:
        note = f"The largest view alone is {percent(first['majority_share'])} %. Purity rises with K by itself."
    else:
        note = "No image has a label: purity, NMI, ARI, accuracy and macro recall are left out."
    return "\n".join(
        [*lines, "", f"{split} split, mean ± sd over seeds; {first['n_unlabelled']} images unlabelled. {note}"]
    )
