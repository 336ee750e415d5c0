"""The report: one self-contained HTML page, what a sonographer opens first and can print or send on.

Only what the page says and shows is put together here. Counts are in `facts`, warnings in `caveats`, words in
`wording`, figures and pictures come in as bytes made by `figures`, `embedding_map` and `gallery`.
"""

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fusc_pipeline.base import words
from fusc_pipeline.evaluation import tables
from fusc_pipeline.evaluation.model_names import model_words
from fusc_pipeline.pictures.data_uri import data_uri
from fusc_pipeline.pictures.figures import MOST_NUMBERED
from fusc_pipeline.pictures.palette import ink_on, view_colour
from fusc_pipeline.report import wording
from fusc_pipeline.report.caveats import caveats, limits
from fusc_pipeline.report.facts import FEW_LABELS, Facts, gather, groups_in_brief
from fusc_pipeline.report.inputs import ReportInput
from fusc_pipeline.report.paper import EXTERNAL, paper_tables


def whole_percent(share: float) -> str:
    """A share as whole per cent; one that is not quite all or nothing never reads as 100 or 0."""
    rounded = round(100 * share)
    if rounded == 100 and share < 1:
        return "over 99"
    return "under 1" if rounded == 0 and share > 0 else str(rounded)


def render_report(given: ReportInput) -> str:
    """The page as HTML text: no network, no files beside it, every picture inside.

    Equal input gives equal text. Everything that comes from tables is escaped.
    """
    facts = gather(given.corpus, given.scans, given.rejected, given.pseudo_labels, given.clean_images)
    summary = tables.summarise(given.purity)
    environment = Environment(
        loader=PackageLoader("fusc_pipeline.report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "uri": data_uri,
        "colour": view_colour,
        "ink_on": ink_on,
        "whole": whole_percent,
        "counted": words.counted,
        "listed": words.listed,
        "sentence": words.sentence,
        "tight": words.tight,
    }
    return environment.get_template("report.html").render(
        given=given,
        facts=facts,
        shown_name=model_words(given.shown.model).name if given.shown else None,
        blocks=figure_blocks(summary, given, facts),
        train_blocks=figure_blocks(summary, given, facts, split="train"),
        groups=groups_in_brief(given.gallery) if facts.n_labelled else None,
        caveats=caveats(given, facts),
        limits=limits(given, facts),
        figures=wording.FIGURES,
        few=FEW_LABELS,
        most_numbered=MOST_NUMBERED,
        composition=composition_rows(given),
        paper=paper_tables(_all_labels(given), given.networks) if facts.n_labelled_test else [],
        paper_external=EXTERNAL,
        model_words=model_words,
        label_reasons=wording.LABEL_REASONS,
    )


def _all_labels(given: ReportInput) -> pd.DataFrame:
    """The figures against the views and against the merged groups, one table."""
    return given.purity if given.groups is None else pd.concat([given.purity, given.groups], ignore_index=True)


def figure_blocks(summary: pd.DataFrame, given: ReportInput, facts: Facts, split: str = "test") -> list[dict]:
    """One block per K for the table of figures: its rows in words, and its two lines to compare with."""
    if summary.empty:
        return []
    blocks = []
    for n_clusters, block in summary[summary["split"] == split].groupby("n_clusters"):
        rows = []
        for row in block.to_dict("records"):
            called = model_words(row["model"])
            cells = [tables.percent(row[name], row[f"{name}_sd"]) for name in tables.FIGURES]
            filled = tables.count(row["filled_clusters"], row["filled_clusters_sd"])
            rows.append({"words": called, "cells": cells, "filled": filled, "n": row["n"], "seeds": row["seeds"]})
        majority = block["majority_share"].iloc[0]
        chance = (given.chance or {}).get(int(n_clusters)) if split == "test" else None
        blocks.append(
            {
                "n_clusters": int(n_clusters),
                "rows": rows,
                "majority": None if pd.isna(majority) else tables.percent(majority),
                "largest_view": facts.largest_view(split),
                "chance": [tables.percent(chance[name]) for name in tables.FIGURES] if chance else None,
            }
        )
    return blocks


def composition_rows(given: ReportInput) -> list[dict]:
    """Table 4 of the shown fit: per cluster its size, labelled images and top views with shares, purest first."""
    if given.shown is None or given.composition.empty:
        return []
    table, shown = given.composition, given.shown
    table = table[
        (table["model"] == shown.model) & (table["n_clusters"] == shown.n_clusters) & (table["seed"] == shown.seed)
    ]
    rows = []
    for cluster, block in table.groupby("cluster", sort=False):
        tops = [(row["view"], row["share"]) for row in block.sort_values("rank").to_dict("records")]
        first = block.iloc[0]
        rows.append(
            {"cluster": int(cluster), "size": int(first["size"]), "labelled": int(first["labelled"]), "tops": tops}
        )
    return rows
