"""Other data sets on the page: what finished models made of them, by batch, model and K."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from fusc_pipeline.base.words import counted, listed
from fusc_pipeline.evaluation.model_names import model_words
from fusc_pipeline.evaluation.tables import FIGURES, count, percent, summarise
from fusc_pipeline.report.paper import EXTERNAL, PaperExternal


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and deviation over seeds, as `tables.summarise`, of one batch's fits: a row per model and K."""
    fitted = table[table["seed"].notna()]
    return summarise(fitted.assign(split="external", label_set="own")) if len(fitted) else pd.DataFrame()


@dataclass(frozen=True)
class ExternalRow:
    """A model at one K, as text; note: why it has no figures. paper: what the paper printed for this row."""

    model: str
    filled: str
    figures: Sequence[str]
    seeds: int
    note: str
    paper: PaperExternal | None


@dataclass(frozen=True)
class ExternalSection:
    """One external batch on the page. blocks: (K, rows), the paper's K first; places: where unseen classes went."""

    scan_batch: str
    n: int
    n_unlabelled: int
    left_out: str
    n_classes: int
    label_source: str
    unseen: str
    majority: str
    blocks: Sequence[tuple[int, Sequence[ExternalRow]]]
    places: Sequence[str]


def sections(table: pd.DataFrame, shown: str | None = None) -> list[ExternalSection]:
    """A section for each batch of a `schemas.EXTERNAL_PURITY` table; `shown`: the model whose groups are spoken of."""
    return [_section(batch, rows, shown) for batch, rows in table.groupby("scan_batch", sort=True)]


def _section(batch: str, rows: pd.DataFrame, shown: str | None) -> ExternalSection:
    first = rows.iloc[0]
    majority = rows["majority_share"].dropna()
    left_out = [
        f"{counted(int(first[name]), 'frame')} {why}"
        for name, why in (
            ("n_excluded", "of classes not scored"),
            ("n_in_corpus", "that the corpus holds too"),
        )
        if first[name]
    ]
    ks = sorted(rows["n_clusters"].unique(), key=lambda k: (k != EXTERNAL.n_clusters, k))
    means = summary(rows)
    return ExternalSection(
        scan_batch=batch,
        n=int(first["n"]),
        n_unlabelled=int(first["n_unlabelled"]),
        left_out=listed(left_out) if left_out else "",
        n_classes=int(first["n_classes"]),
        label_source=first["label_source"],
        unseen=listed(sorted({place["label"] for places in rows["unseen"] for place in places})),
        majority=percent(majority.iloc[0]) if len(majority) else "",
        blocks=[(int(k), list(_rows(rows[rows["n_clusters"] == k], means))) for k in ks],
        places=[_place_in_words(place, model) for model, place in _shown_places(rows, shown)],
    )


def _rows(of_k: pd.DataFrame, means: pd.DataFrame) -> Iterator[ExternalRow]:
    for (model, k), fits in of_k.groupby(["model", "n_clusters"], sort=False):
        paper = EXTERNAL if (model, k) == (EXTERNAL.model, EXTERNAL.n_clusters) else None
        note = next((text for text in fits["note"] if isinstance(text, str)), "")  # pandas: none is NaN
        if fits["seed"].isna().all():
            yield ExternalRow(model, "–", ["–"] * len(FIGURES), 0, note, paper)
            continue
        mean = means[(means["model"] == model) & (means["n_clusters"] == k)].iloc[0]
        figures = [percent(mean[name], mean[f"{name}_sd"]) for name in FIGURES]
        filled = count(mean["filled_clusters"], mean["filled_clusters_sd"])
        yield ExternalRow(model, filled, figures, int(mean["seeds"]), note, paper)


def _shown_places(rows: pd.DataFrame, shown: str | None) -> list[tuple[str, dict]]:
    """(model, place) of the unseen classes in one fit: the paper's model, else `shown`, else the first; K nearest
    to the paper's; the lowest seed."""
    fitted = rows[rows["seed"].notna()]
    if fitted.empty:
        return []
    models = list(dict.fromkeys(fitted["model"]))
    model: str = next((name for name in (EXTERNAL.model, shown) if name and name in models), models[0])
    mine = fitted[fitted["model"] == model]
    nearest = mine.assign(away=(mine["n_clusters"] - EXTERNAL.n_clusters).abs())
    fit = nearest.sort_values(["away", "n_clusters", "seed"]).iloc[0]
    return [(f"{model_words(model).name} with {fit['n_clusters']} groups", place) for place in fit["unseen"]]


def _place_in_words(place: dict, model: str) -> str:
    return (
        f"{place['label']}: {percent(place['share'])} % of its {counted(int(place['n']), 'frame')} lie in one group of "
        f"{model}, and make up {percent(place['purity'])} % of that group."
    )


def preview(table: pd.DataFrame) -> str:
    """The table as Markdown for the asset's metadata, mean ± sd over seeds, figures in per cent."""
    lines = []
    for batch, rows in table.groupby("scan_batch", sort=True):
        found = _section(batch, rows, None)
        lines += ["| model | K | CP % | NMI % | ARI % | ACC % | macro recall % | filled | seeds | note |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"]
        for k, models in found.blocks:
            for row in models:
                figures = " | ".join(row.figures)
                lines.append(f"| {row.model} | {k} | {figures} | {row.filled} | {row.seeds} | {row.note} |")
        lines += ["", f"Batch {batch}: {found.n:,} labelled images, {counted(found.n_classes, 'class', 'classes')}."]
        if found.n:
            lines.append(f"The largest class alone is {found.majority} %. Classes no view shows: {found.unseen}.")
        else:
            lines.append("No image has a label: only sizes are given.")
        lines += [*found.places, ""]
    return "\n".join(lines)
