"""What a report is made of: plain tables and the bytes of its pictures, and which fit it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from fusc_pipeline.pictures.gallery import GalleryCluster, ViewSample
from fusc_pipeline.report.audit_sections import LabelSection, RemovalSection
from fusc_pipeline.report.external_section import ExternalSection
from fusc_pipeline.report.paper import EncoderFigures
from fusc_pipeline.report.service_section import ServiceSection


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
