"""The paper's own tables beside ours: which rows and columns each has, and the numbers it printed.

The paper's are of 17,617 private test frames and ours of other data: they stand beside each other for orientation only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fusc_pipeline.evaluation.model_names import before_self_labelling
from fusc_pipeline.evaluation.tables import count, percent, summarise


@dataclass(frozen=True)
class PaperRow:
    """One row as the paper prints it: our asset's name, its backbone, filled clusters, CP and NMI in per cent."""

    model: str
    backbone: str
    filled: int
    purity: int
    nmi: int


@dataclass(frozen=True)
class PaperTable:
    """One table of figures: which K and which labels its rows are scored with. rows: none where it is ours alone."""

    number: str
    title: str
    n_clusters: int
    label_set: str
    rows: tuple[PaperRow, ...]


TABLES: tuple[PaperTable, ...] = (
    PaperTable("1", "Fifteen clusters against fifteen views", 15, "views", (
        PaperRow("deepmcat", "VGG16", 15, 35, 16),
        PaperRow("kmeans_simclr", "ResNet18", 15, 48, 33),
        PaperRow("kmeans_dino", "ViT-S/16", 15, 69, 62),
        PaperRow("fusc_simclr", "ResNet18", 15, 64, 55),
        PaperRow("fusc_simclr_selflabel", "ResNet18", 15, 71, 65),
        PaperRow("fusc_dino", "ViT-S/16", 15, 71, 67),
        PaperRow("fusc_dino_selflabel", "ViT-S/16", 15, 72, 68),
        PaperRow("supervised", "ResNet18", 15, 93, 86),
    )),
    PaperTable("2", "Four clusters against four merged groups of views", 4, "groups", (
        PaperRow("fusc_simclr", "ResNet18", 4, 87, 70),
        PaperRow("fusc_simclr_selflabel", "ResNet18", 4, 76, 64),
        PaperRow("fusc_dino", "ViT-S/16", 4, 72, 48),
        PaperRow("fusc_dino_selflabel", "ViT-S/16", 4, 64, 33),
    )),
    PaperTable("2b", "Fifteen clusters against the same four groups (not in the paper)", 15, "groups", ()),
    PaperTable("3", "Over-clustering: 120 clusters against fifteen views", 120, "views", (
        PaperRow("deepmcat", "VGG16", 120, 44, 22),
        PaperRow("fusc_simclr", "ResNet18", 120, 76, 49),
        PaperRow("fusc_simclr_selflabel", "ResNet18", 35, 72, 57),
        PaperRow("fusc_dino", "ViT-S/16", 120, 82, 55),
        PaperRow("fusc_dino_selflabel", "ViT-S/16", 15, 68, 63),
    )),
)  # fmt: skip


@dataclass(frozen=True)
class PaperExternal:
    """The generalisation test as the paper prints it: which row, on how many frames, CP and NMI in per cent."""

    model: str
    n_clusters: int
    frames: int
    purity: int
    nmi: int


EXTERNAL = PaperExternal("fusc_simclr_selflabel", 15, 8187, 92, 72)


@dataclass(frozen=True)
class EncoderFigures:
    """What an encoder's embeddings are worth before any clustering: names, and shares (None: no labels).

    knn_accuracy: test images whose neighbours in the train split vote for their view. neighbour_purity: neighbours
    that show the image's own view, over all images.
    """

    encoder: str
    network: str
    knn_accuracy: float | None
    neighbour_purity: float | None


def paper_tables(
    purity: pd.DataFrame, networks: Mapping[str, str] | None = None
) -> list[tuple[PaperTable, list["OurRow"]]]:
    """Tables 1 to 3 with our rows (see `our_rows`); those of which we have no row at all are left out."""
    found = [(table, our_rows(table, purity, networks)) for table in TABLES]
    return [(table, rows) for table, rows in found if any(row.seeds for row in rows)]


@dataclass(frozen=True)
class OurRow:
    """A row of one of the paper's tables with our figures as text ("–" where the row was not run), and the paper's.

    after: for a self-labelled row, what it lost against the row it started from, in words; else empty.
    """

    model: str
    backbone: str
    filled: str
    purity: str
    nmi: str
    accuracy: str
    seeds: int
    n: int
    paper: PaperRow | None
    after: str


def our_rows(table: PaperTable, purity: pd.DataFrame, networks: Mapping[str, str] | None = None) -> list[OurRow]:
    """The paper's rows in its order with our figures, then our further models.

    purity (`schemas.PURITY`): every fit's figures against every label set; the test split's are taken.
    networks: model → the network it was trained with here; where it is not named, the paper's.
    """
    mine = purity
    if len(purity):
        mine = purity[
            (purity["split"] == "test")
            & (purity["n_clusters"] == table.n_clusters)
            & (purity["label_set"] == table.label_set)
        ]
    by_model = {row["model"]: row for row in summarise(mine).to_dict("records")} if len(mine) else {}
    printed = {row.model: row for row in table.rows}
    return [
        _our_row(name, printed.get(name), by_model.get(name), _lost(name, mine), (networks or {}).get(name))
        for name in [*printed, *(m for m in by_model if m not in printed)]
    ]


def _our_row(model: str, paper: PaperRow | None, row: dict | None, after: str, network: str | None) -> OurRow:
    backbone = network or (paper.backbone if paper else "")
    if row is None:
        return OurRow(model, backbone, "–", "–", "–", "–", 0, 0, paper, "")
    figures = {name: percent(row[name], row[f"{name}_sd"]) for name in ("cluster_purity", "nmi", "accuracy")}
    return OurRow(
        model,
        backbone,
        count(row["filled_clusters"], row["filled_clusters_sd"]),
        figures["cluster_purity"],
        figures["nmi"],
        figures["accuracy"],
        int(row["seeds"]),
        int(row["n"]),
        paper,
        after,
    )


def _lost(model: str, fits: pd.DataFrame) -> str:
    """What self-labelling lost against the fits it started from, seed by seed: clusters, purity, or nothing."""
    started = before_self_labelling(model)
    if started is None or not len(fits):
        return ""
    before = fits[fits["model"] == started]
    both = fits[fits["model"] == model].merge(before, on="seed", suffixes=("", "_before"))
    lost = [
        words
        for words, name in (("clusters", "filled_clusters"), ("purity", "cluster_purity"))
        if both[name].mean() < both[f"{name}_before"].mean() - 1e-9
    ]
    return f"lost {' and '.join(lost)}" if lost else ""
