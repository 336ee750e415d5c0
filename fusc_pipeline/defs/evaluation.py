"""Evaluation: how pure the clusters are, what is in them, and the page a sonographer opens."""

import json
import os
import platform
import shutil
import time
from importlib import metadata

import dagster as dg
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.defs.audit import MAPS, WORST
from fusc_pipeline.defs.clustering import MODELS
from fusc_pipeline.defs.materialize import AssetConfig, column_schema, materialize
from fusc_pipeline.defs.models import HISTORY, clean_pngs
from fusc_pipeline.defs.preview import image_markdown
from fusc_pipeline.defs.tables import embedding_arrays
from fusc_pipeline.resources.parquet_io import TableHandle
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.resources.store import Store

GROUP = "evaluation"
PAGE = "report.html"


@dg.asset(
    deps=["corpus", *MODELS],
    group_name=GROUP,
    kinds={"parquet"},
    code_version="1",
    metadata=column_schema("purity_report"),
)
def purity_report(context: dg.AssetExecutionContext, config: AssetConfig, store: StoreResource) -> dg.MaterializeResult:
    """Every figure of every fit (Tables 1 to 3): CP beside NMI, ARI, accuracy, macro recall, filled clusters and n.

    Purity rises with K by itself, so it never stands alone. Without labels only sizes and filled clusters are given.
    """
    files = store.get()
    models = rows_to_score(files, context.log)

    def produce(draft):
        from fusc_pipeline.evaluation.tables import purity_table, summary_markdown

        table = purity_table(_assignments(files, models), files.table("corpus"))
        draft.write_table(table)
        draft.metadata |= {"dagster/row_count": table.num_rows, "test_split": {"md": summary_markdown(table)}}

    return materialize(context, files, config, produce, upstream=["corpus", *models])


@dg.asset(
    deps=["corpus", *MODELS],
    group_name=GROUP,
    kinds={"parquet"},
    code_version="1",
    metadata=column_schema("cluster_composition"),
)
def cluster_composition(
    context: dg.AssetExecutionContext, config: AssetConfig, store: StoreResource
) -> dg.MaterializeResult:
    """The three commonest views of every cluster, with their shares and the cluster's size (Table 4)."""
    files = store.get()
    models = rows_to_score(files)

    def produce(draft):
        from fusc_pipeline.evaluation.composition import composition_table

        table = composition_table(_assignments(files, models), files.table("corpus"))
        draft.write_table(table)
        draft.metadata |= {"dagster/row_count": table.num_rows}

    return materialize(context, files, config, produce, upstream=["corpus", *models])


class ShownConfig(AssetConfig):
    """Which fit's pictures are shown."""

    n_clusters: int = Field(default=15, ge=2, description="The K nearest to this is shown.")


@dg.asset(deps=["corpus", "purity_report", *MODELS], group_name=GROUP, kinds={"jpeg"}, code_version="1")
def cluster_gallery(
    context: dg.AssetExecutionContext, config: ShownConfig, store: StoreResource
) -> dg.MaterializeResult:
    """One picture per cluster: its most and its least confident images, labelled with their views."""
    files = store.get()

    def produce(draft):
        from fusc_pipeline.evaluation.sheets import cluster_sheet

        shown, _, gallery, scope = _gallery(files, config.n_clusters)
        for cluster in gallery:
            draft.path(f"cluster-{cluster.cluster:03d}.jpg").write_bytes(cluster_sheet(cluster))
        draft.metadata |= {
            "shown": f"{shown.model}, K {shown.n_clusters}, seed {shown.seed}, {scope} images" if shown else "no fit",
            "clusters": len(gallery),
        }
        if gallery:
            draft.metadata["purest"] = {"md": image_markdown(cluster_sheet(gallery[0]), "the purest cluster")}

    upstream = ["corpus", "purity_report", *rows_to_score(files)]
    return materialize(context, files, config, produce, upstream=upstream)


@dg.asset(
    deps=[
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
    ],
    group_name=GROUP,
    kinds={"html"},
    code_version="3",
)
def cluster_report(
    context: dg.AssetExecutionContext, config: ShownConfig, store: StoreResource, corpus: TableHandle
) -> dg.MaterializeResult:
    """One self-contained HTML page: what was found, how far to trust it, and the clusters in pictures.

    Also copied to `report.html` in the data root, where people look for it.
    """
    files = store.get()
    batches = sorted(corpus.read(["scan_batch"]).column(0).unique().to_pylist())
    inputs = {
        f"{asset}/{batch}": files.require(asset, batch).data_version
        for batch in batches
        for asset in ("rejected_scans", "pseudo_labels", "clean_images")
    }

    def produce(draft):
        from fusc_pipeline.evaluation.report import render_report

        page = render_report(_report_input(files, batches, config.n_clusters))
        draft.path(PAGE).write_text(page)
        draft.metadata |= {"page_kb": len(page) // 1024}

    upstream = ["corpus", "simclr_embeddings", "purity_report", "cluster_composition", "cluster_gallery"]
    upstream += ["external_purity", "inpainting_audit", "label_audit"]
    result = materialize(context, files, config, produce, upstream=upstream, inputs=inputs)
    page = files.folder("cluster_report") / PAGE
    temporary = files.root / f".{PAGE}.tmp-{os.getpid()}"
    shutil.copyfile(page, temporary)
    os.replace(temporary, files.root / PAGE)
    context.log.info(f"cluster_report: open {files.root / PAGE}")
    return result


def rows_to_score(files: Store, log: dg.DagsterLogManager | None = None) -> list[str]:
    """The models that were made, from the present corpus and encoder; `log` says which others were not, and why.

    A row is optional: a run may leave out what it has no time for, and the tables then show it as not run.
    """
    found = []
    for name in MODELS:
        if files.record(name) is None:
            reason = "was never made"
        elif before := files.outdated_by(name):
            reason = f"was made from another {before} than the present one"
        else:
            found.append(name)
            continue
        if log is not None:
            log.info(f"{name} {reason}: its row is left out")
    return found


def _assignments(files: Store, models: list[str]) -> dict[str, pa.Table]:
    """Each model's table; a model that had nothing to learn from (no labels) is left out."""
    tables = {name: files.table(name) for name in models}
    return {name: table for name, table in tables.items() if table.num_rows}


def _gallery(files: Store, n_clusters: int):
    """(shown fit or None, the shown model's rows joined with the corpus, gallery clusters, scope)."""
    import pyarrow.compute as pc

    from fusc_pipeline.evaluation.assignments import labelled_clusters
    from fusc_pipeline.evaluation.gallery import build_gallery, rows_to_show
    from fusc_pipeline.evaluation.report import choose_shown

    shown = choose_shown(_purity(files), n_clusters)
    if shown is None:
        return None, None, [], "no"
    corpus = files.table("corpus")
    joined = labelled_clusters(shown.model, files.table(shown.model), corpus)
    fit = joined[(joined["n_clusters"] == shown.n_clusters) & (joined["seed"] == shown.seed)]
    rows, scope = rows_to_show(fit)
    chosen = corpus.filter(pc.is_in(corpus.column("image_id"), pa.array(rows["image_id"].tolist())))
    pngs = dict(clean_pngs(files, chosen))
    return shown, joined, build_gallery(rows, pngs.__getitem__), scope


def _report_input(files: Store, batches: list[str], n_clusters: int):
    from fusc_pipeline.evaluation.audit_sections import label_section
    from fusc_pipeline.evaluation.embedding_map import embedding_map
    from fusc_pipeline.evaluation.external import sections
    from fusc_pipeline.evaluation.figures import cluster_bars, confusion_figure, learning_curves
    from fusc_pipeline.evaluation.report import ReportInput
    from fusc_pipeline.evaluation.tables import chance_lines

    shown, joined, gallery, scope = _gallery(files, n_clusters)
    corpus = files.table("corpus").to_pandas()
    pictures: dict = {}
    if shown is not None:
        fit = joined[(joined["n_clusters"] == shown.n_clusters) & (joined["seed"] == shown.seed)]
        test = fit[fit["split"] == "test"]
        encoder = "dino" if "dino" in shown.model else "simclr"
        ids, _, vectors = embedding_arrays(files.table(f"{encoder}_embeddings"))
        of_image = fit.set_index("image_id").loc[ids]
        pictures = {
            "confusion": confusion_figure(
                test["view"].tolist(), test["cluster"].to_numpy(), shown.n_clusters, fmt="svg"
            ),
            "embedding_map": embedding_map(vectors, of_image["view"].tolist(), of_image["cluster"].tolist()),
            "cluster_bars": cluster_bars(test, fmt="svg"),
            "chance": chance_lines(joined, shown.seed),
        }
    return ReportInput(
        purity=_purity(files),
        composition=files.table("cluster_composition").to_pandas(),
        corpus=corpus,
        scans=_per_batch(files, "clean_images", batches, ["image_id", "machine", "subject_source"]),
        rejected=_per_batch(files, "rejected_scans", batches),
        pseudo_labels=_per_batch(files, "pseudo_labels", batches),
        clean_images=_per_batch(files, "clean_images", batches, ["image_id", "quarantined"]),
        shown=shown,
        gallery=gallery,
        gallery_scope=scope,
        curves=_curves(files, learning_curves),
        stopped=_stopped(files),
        removal=_removal(files),
        labels=label_section(files.table("label_audit").to_pandas()),
        provenance=_provenance(files),
        groups=_purity(files, "groups"),
        external=sections(files.table("external_purity").to_pandas(), shown.model if shown else None),
        samples=_samples(files),
        phantom=all(files.require("scans", batch).metadata.get("phantom") for batch in batches),
        made_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        **pictures,
    )


def _removal(files: Store):
    from fusc_pipeline.evaluation.attention_section import MapFigure, attention_section
    from fusc_pipeline.evaluation.audit_sections import AuditPicture, removal_section
    from fusc_pipeline.evaluation.gallery import thumbnail

    folder = files.folder("inpainting_audit")
    pictures = [
        AuditPicture(thumbnail((folder / case["covered"]).read_bytes(), 480)[0], case["why"])
        for case in json.loads((folder / WORST).read_text())
    ]
    maps = [
        MapFigure(thumbnail((folder / shown["picture"]).read_bytes(), 480)[0], shown["view"], shown["why"])
        for shown in json.loads((folder / MAPS).read_text())
    ]
    table = files.table("inpainting_audit").to_pandas()
    tolerated = files.require("inpainting_audit").config["tolerated_attention"]
    return removal_section(table, pictures, attention_section(table, tolerated, maps))


def _per_batch(files: Store, asset: str, batches: list[str], columns: list[str] | None = None):
    return pa.concat_tables([files.table(asset, batch, columns) for batch in batches]).to_pandas()


def _purity(files: Store, label_set: str = "views"):
    """The purity report against the fifteen views, or against their merged groups."""
    purity = files.table("purity_report").to_pandas()
    return purity[purity["label_set"] == label_set]


def _samples(files: Store):
    """A frame of each view."""
    import pyarrow.compute as pc

    from fusc_pipeline.evaluation.gallery import sample_frames, view_samples

    corpus = files.table("corpus")
    frames = sample_frames(corpus.to_pandas())
    # Read in one pass over the batches: a pass decodes every picture of a batch's file.
    chosen = pa.array([image_id for _, _, image_id in frames], pa.string())
    pngs = dict(clean_pngs(files, corpus.filter(pc.field("image_id").isin(chosen))))
    return view_samples(frames, pngs.__getitem__)


def _curves(files: Store, draw) -> dict[str, bytes]:
    """Learning curves of the encoders and of every model that has some, by heading."""
    keys = {
        "SimCLR pretraining": ("loss", "effective_rank", "knn_accuracy"),
        "DINO pretraining": ("loss", "teacher_entropy_share", "kl", "effective_rank", "knn_accuracy"),
        "FUSC clustering": ("loss", "consistency", "entropy"),
        "Self-labelling (FUSC*)": ("loss", "coverage", "agreement", "filled"),
        "DeepMCAT": ("loss", "agreement", "filled"),
    }
    found: dict[str, dict[str, list]] = {}
    for encoder, title in (("simclr", "SimCLR"), ("dino", "DINO")):
        if files.record(f"{encoder}_encoder"):
            found[f"{title} pretraining"] = {title: _history(files, f"{encoder}_encoder")}
    scored = set(_purity(files)["model"])
    for model in MODELS:
        if model not in scored or model.startswith(("kmeans", "supervised")):
            continue
        method = "Self-labelling (FUSC*)" if model.endswith("_selflabel") else "FUSC clustering"
        method = "DeepMCAT" if model == "deepmcat" else method
        encoder = "DINO, " if "dino" in model else ""
        for fit in _history(files, model):
            name = f"{encoder}K {fit['n_clusters']}, seed {fit['seed']}"
            found.setdefault(method, {})[name] = fit["history"]
    pictures = {title: draw(histories, keys[title], fmt="svg") for title, histories in found.items()}
    return {title: picture for title, picture in pictures.items() if picture}


def _history(files: Store, asset: str) -> list:
    return json.loads((files.folder(asset) / HISTORY).read_text())


def _stopped(files: Store):
    import pandas as pd

    stopped = []
    for model in sorted(set(_purity(files)["model"])):
        if model.endswith("_selflabel"):
            rows = json.loads((files.folder(model) / "stopped.json").read_text())
            stopped += [{"model": model, **row} for row in rows if row["stopped_because"]]
    return pd.DataFrame(stopped, columns=["model", "n_clusters", "seed", "stopped_because"])


def _provenance(files: Store) -> dict[str, dict[str, object]]:
    packages = (
        "fusc-pipeline",
        "torch",
        "torchvision",
        "easyocr",
        "opencv-python-headless",
        "faiss-cpu",
        "scikit-learn",
    )
    shown = {"Versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}}
    for asset in ("corpus", "simclr_encoder", "dino_encoder", *MODELS):
        record = files.record(asset)
        if record is None:
            continue
        shown[asset] = {"fingerprint": record.fingerprint[:16], "seconds": record.seconds, **record.config}
    return shown
