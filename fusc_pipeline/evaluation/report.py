"""The report: one self-contained HTML page, what a sonographer opens first and can print or send on.

Only what the page says and shows is put together here. Counts are in `facts`, warnings in `caveats`, words in
`wording`, figures and pictures come in as bytes made by `figures`, `embedding_map` and `gallery`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fusc_pipeline.evaluation import tables, wording
from fusc_pipeline.evaluation.audit_sections import LabelSection, RemovalSection
from fusc_pipeline.evaluation.caveats import caveats, limits
from fusc_pipeline.evaluation.external import ExternalSection
from fusc_pipeline.evaluation.facts import FEW_LABELS, Facts, gather, groups_in_brief
from fusc_pipeline.evaluation.figures import MOST_NUMBERED
from fusc_pipeline.evaluation.gallery import GalleryCluster, ViewSample
from fusc_pipeline.evaluation.palette import ink_on, view_colour
from fusc_pipeline.evaluation.paper import EXTERNAL, EncoderFigures, paper_tables
from fusc_pipeline.evaluation.service_section import ServiceSection


@dataclass(frozen=True)
class Shown:
    """The one fit whose pictures the page shows: a model, its K and seed."""

    model: str
    n_clusters: int
    seed: int


@dataclass(frozen=True)
class ReportInput:
    """All a report is made of: plain tables (pandas, columns as in `schemas`) and picture bytes.

    purity (`PURITY`), composition (`COMPOSITION`), corpus (`CORPUS`): of all models and batches.
    scans (`SCANS` without png), rejected (`REJECTED_SCANS`), pseudo_labels (`PSEUDO_LABELS`), clean_images
    (`CLEAN_IMAGES` without image): of all batches.
    shown: the fit of which gallery, confusion, embedding_map and cluster_bars speak; `choose_shown` picks one.
    gallery: from `gallery.build_gallery`; gallery_scope: "test", or "all" when it shows training frames too.
    confusion, embedding_map, cluster_bars, curves: PNG or SVG bytes; None or absent: not shown. A key of curves is its
    heading.
    chance: from `tables.chance_lines` for the shown model and seed; None or empty: no line.
    stopped: for self-labelling runs that a stop rule ended: columns model, n_clusters, seed, stopped_because.
    removal, labels: from `audit_sections`; None: the audit was not made, or nothing was judged.
    groups: as purity, but scored against the merged groups of views (the paper's Table 2).
    external: from `external.sections`: other data sets, clustered by the finished models.
    samples: from `gallery.view_samples` (the paper's Figure 1).
    encoders: how good their embeddings are on their own. networks: model → the network it was trained with.
    service: the model in service, None before the first.
    provenance: heading → name → value (fingerprints, configuration, versions).
    phantom: the frames are synthetic. made_at: when, as text; the page itself reads no clock.
    """

    purity: pd.DataFrame
    composition: pd.DataFrame
    corpus: pd.DataFrame
    scans: pd.DataFrame
    rejected: pd.DataFrame
    pseudo_labels: pd.DataFrame
    clean_images: pd.DataFrame
    shown: Shown | None
    gallery: Sequence[GalleryCluster] = ()
    gallery_scope: str = "test"
    confusion: bytes | None = None
    embedding_map: bytes | None = None
    cluster_bars: bytes | None = None
    curves: Mapping[str, bytes] = field(default_factory=dict)
    chance: Mapping[int, Mapping[str, float]] | None = None
    stopped: pd.DataFrame | None = None
    removal: RemovalSection | None = None
    labels: LabelSection | None = None
    groups: pd.DataFrame | None = None
    external: Sequence[ExternalSection] = ()
    samples: Sequence[ViewSample] = ()
    encoders: Sequence[EncoderFigures] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    service: ServiceSection | None = None
    provenance: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    phantom: bool = False
    made_at: str | None = None
    title: str = "Fetal ultrasound frames, sorted into groups of views"


# The paper's best row first; the choice is fixed so that no figure decides what is shown.
_PREFERRED = ("fusc_simclr_selflabel", "fusc_simclr", "kmeans_simclr")


def choose_shown(purity: pd.DataFrame, n_clusters: int = 15) -> Shown | None:
    """Which fit to show: FUSC* if there, else FUSC, else k-means, else the first model; the K nearest to `n_clusters`;
    the lowest seed. Never by score: that would pick on the test labels. None when there is no fit.
    """
    if purity.empty:
        return None
    present = list(dict.fromkeys(purity["model"]))
    model = next((name for name in _PREFERRED if name in present), present[0])
    mine = purity[purity["model"] == model]
    k = min((int(value) for value in mine["n_clusters"].unique()), key=lambda value: (abs(value - n_clusters), value))
    return Shown(model, k, int(mine.loc[mine["n_clusters"] == k, "seed"].min()))


def data_uri(picture: bytes) -> str:
    """A PNG, JPEG or SVG as a data URI; raises ValueError for anything else."""
    if picture.startswith(b"\x89PNG"):
        kind = "image/png"
    elif picture.startswith(b"\xff\xd8\xff"):
        kind = "image/jpeg"
    elif b"<svg" in picture[:1000]:
        kind = "image/svg+xml"
    else:
        raise ValueError(f"a picture must be PNG, JPEG or SVG; this one starts with {picture[:8]!r}")
    return f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"


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
        loader=PackageLoader("fusc_pipeline.evaluation"),
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
        "counted": wording.counted,
        "listed": wording.listed,
        "sentence": wording.sentence,
        "tight": wording.tight,
    }
    return environment.get_template("report.html").render(
        given=given,
        facts=facts,
        shown_name=wording.model_words(given.shown.model).name if given.shown else None,
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
        model_words=wording.model_words,
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
            words = wording.model_words(row["model"])
            cells = [tables.percent(row[name], row[f"{name}_sd"]) for name in tables.FIGURES]
            filled = tables.count(row["filled_clusters"], row["filled_clusters_sd"])
            rows.append({"words": words, "cells": cells, "filled": filled, "n": row["n"], "seeds": row["seeds"]})
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
