"""Evaluation: how pure the clusters are, what is in them, and the page a sonographer opens."""

from importlib import resources

import dagster as dg
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline.defs.engine.config_fields import AssetConfig
from fusc_pipeline.defs.engine.materialize import batch_versions
from fusc_pipeline.defs.engine.preview import image_markdown
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.evaluation.report_input import ENCODERS, report_input, shown_gallery
from fusc_pipeline.defs.evaluation.report_service import service_versions
from fusc_pipeline.host.atomic import replace_text
from fusc_pipeline.service.in_service import ASSIGNMENTS, IN_SERVICE
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import gone, lacking

GROUP = "evaluation"
PAGE = "report.html"
# Whose networks, learning curves and figures the page shows, beside what its tables are made from.
TOLD_OF = (*(f"{encoder}_{part}" for encoder in ENCODERS for part in ("encoder", "neighbors")), *MODELS)


@stored_asset(
    deps=["corpus", *MODELS],
    group=GROUP,
    kinds={"parquet"},
    code_version="1",
)
def purity_report(context: Request, config: AssetConfig, store: Store) -> Work:
    """Every figure of every fit (Tables 1 to 3): CP beside NMI, ARI, accuracy, macro recall, filled clusters and n.

    Purity rises with K by itself, so it never stands alone. Without labels only sizes and filled clusters are given.
    """
    models = rows_to_score(store, context.log)

    def produce(draft):
        from fusc_pipeline.evaluation.tables import purity_table, summary_markdown

        table = purity_table(_assignments(store, models), store.table("corpus"))
        draft.write_table(table)
        draft.metadata |= {"dagster/row_count": table.num_rows, "test_split": {"md": summary_markdown(table)}}
        draft.metadata |= _over_time(table)

    return Work(produce, upstream=["corpus", *models])


@stored_asset(
    deps=["corpus", *MODELS],
    group=GROUP,
    kinds={"parquet"},
    code_version="1",
)
def cluster_composition(context: Request, config: AssetConfig, store: Store) -> Work:
    """The three commonest views of every cluster, with their shares and the cluster's size (Table 4)."""
    models = rows_to_score(store)

    def produce(draft):
        from fusc_pipeline.evaluation.composition import composition_table

        table = composition_table(_assignments(store, models), store.table("corpus"))
        draft.write_table(table)
        draft.metadata |= {"dagster/row_count": table.num_rows}

    return Work(produce, upstream=["corpus", *models])


class ShownConfig(AssetConfig):
    """Which fit's pictures are shown."""

    n_clusters: int = Field(default=15, ge=2, description="The K nearest to this is shown.")


@stored_asset(deps=["corpus", "purity_report", *MODELS], group=GROUP, kinds={"jpeg"}, code_version="1")
def cluster_gallery(context: Request, config: ShownConfig, store: Store) -> Work:
    """One picture per cluster: its most and its least confident images, labelled with their views."""

    def produce(draft):
        from fusc_pipeline.pictures.sheets import cluster_sheet

        shown, _, gallery, scope = shown_gallery(store, config.n_clusters)
        for cluster in gallery:
            draft.path(f"cluster-{cluster.cluster:03d}.jpg").write_bytes(cluster_sheet(cluster))
        draft.metadata |= {
            "shown": f"{shown.model}, K {shown.n_clusters}, seed {shown.seed}, {scope} images" if shown else "no fit",
            "clusters": len(gallery),
        }
        if gallery:
            draft.metadata["purest"] = {"md": image_markdown(cluster_sheet(gallery[0]), "the purest cluster")}

    upstream = ["corpus", "purity_report", *rows_to_score(store)]
    # One picture for each filled cluster: how many that are is known once they are made.
    return Work(produce, upstream=upstream, holds=())


def _copy_page(context: Request, store: Store) -> None:
    """Where people look for it."""
    page = store.folder("cluster_report") / PAGE
    replace_text(store.root / PAGE, page.read_text(encoding="utf-8"))
    context.log.info(f"cluster_report: open {store.root / PAGE}")


@stored_asset(
    deps=[
        "corpus",
        "rejected_scans",
        "pseudo_labels",
        "clean_images",
        "simclr_embeddings",
        "purity_report",
        "cluster_composition",
        "cluster_gallery",
        "external_purity",
        "inpainting_audit",
        "label_audit",
        IN_SERVICE,
        ASSIGNMENTS,
    ],
    group=GROUP,
    kinds={"html"},
    code_version="3",
    after=_copy_page,
)
def cluster_report(context: Request, config: ShownConfig, store: Store) -> Work:
    """One self-contained HTML page: what was found, how far to trust it, and the clusters in pictures.

    Also copied to `report.html` in the data root, where people look for it.
    """
    batches = sorted(store.table("corpus", columns=["scan_batch"]).column(0).unique().to_pylist())
    inputs = batch_versions(store, ("rejected_scans", "pseudo_labels", "clean_images"), batches)
    inputs |= {name: record.data_version for name in TOLD_OF if (record := store.record(name))}
    inputs |= service_versions(store)

    def produce(draft):
        from fusc_pipeline.report.page import render_report

        page = render_report(report_input(store, batches, config.n_clusters))
        draft.path(PAGE).write_text(page, encoding="utf-8")
        draft.tells(PAGE, "what it was made from")  # times stand on it
        # The page itself is too large for the event log; `fusc ui` serves it there.
        draft.metadata |= {"page": {"md": "[open the report](/report)"}, "page_kb": len(page) // 1024}

    upstream = ["corpus", "simclr_embeddings", "purity_report", "cluster_composition", "cluster_gallery"]
    upstream += ["external_purity", "inpainting_audit", "label_audit"]
    extra = {"templates": _templates()}
    return Work(produce, upstream=upstream, inputs=inputs, extra=extra, holds=[PAGE], model=True)


def _templates() -> str:
    """What changes with the page's templates, styles and scripts."""
    folder = resources.files("fusc_pipeline.report") / "templates"
    return digest({entry.name: entry.read_text() for entry in folder.iterdir() if entry.is_file()})


def _over_time(table: pa.Table) -> dict[str, float]:
    """Purity and NMI of each row on the test split, mean over seeds: numbers, which the UI plots over versions."""
    from fusc_pipeline.evaluation.tables import summarise

    found = summarise(table)
    rows = found[found["split"] == "test"].dropna(subset=["cluster_purity"]).to_dict("records") if len(found) else []
    return {
        f"{short}/{row['model']} K={int(row['n_clusters'])}": round(float(row[name]), 4)
        for row in rows
        for short, name in (("purity", "cluster_purity"), ("nmi", "nmi"))
        if row[name] == row[name]
    }


def rows_to_score(store: Store, log: dg.DagsterLogManager | None = None) -> list[str]:
    """The models that were made, from the present corpus and encoder; `log` says which others were not, and why.

    A row is optional: a run may leave out what it has no time for, and the tables then show it as not run.
    """
    found = []
    for name in MODELS:
        if (record := store.record(name)) is None:
            reason = "was never made"
        elif before := store.outdated_by(name):
            reason = f"was made from another {before} than the present one"
        elif names := lacking(store, record):
            reason = f"is not whole ({gone(names)})"
        else:
            found.append(name)
            continue
        if log is not None:
            log.info(f"{name} {reason}: its row is left out")
    return found


def _assignments(store: Store, models: list[str]) -> dict[str, pa.Table]:
    """Each model's table; a model that had nothing to learn from (no labels) is left out."""
    tables = {name: store.table(name) for name in models}
    return {name: table for name, table in tables.items() if table.num_rows}
