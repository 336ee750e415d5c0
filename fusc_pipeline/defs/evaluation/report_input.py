"""What the report is made of, gathered from the assets' tables. The page itself is `evaluation.report`'s part."""

import json
import platform
import time
from importlib import metadata

import pyarrow as pa

from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline.defs.engine.arrays import embedding_arrays
from fusc_pipeline.defs.engine.networks import clean_pngs
from fusc_pipeline.defs.evaluation.inpainting_audit import MAPS, WORST
from fusc_pipeline.defs.evaluation.report_service import service_section
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import HISTORY

ENCODERS = {"simclr": "SimCLR", "dino": "DINO"}


def shown_gallery(store: Store, n_clusters: int):
    """(shown fit or None, the shown model's rows joined with the corpus, gallery clusters, scope)."""
    import pyarrow.compute as pc

    from fusc_pipeline.evaluation.assignments import labelled_clusters
    from fusc_pipeline.pictures.gallery import build_gallery, rows_to_show
    from fusc_pipeline.report.inputs import choose_shown

    shown = choose_shown(_purity(store), n_clusters)
    if shown is None:
        return None, None, [], "no"
    corpus = store.table("corpus")
    joined = labelled_clusters(shown.model, store.table(shown.model), corpus)
    fit = joined[(joined["n_clusters"] == shown.n_clusters) & (joined["seed"] == shown.seed)]
    rows, scope = rows_to_show(fit)
    chosen = corpus.filter(pc.is_in(corpus.column("image_id"), pa.array(rows["image_id"].tolist())))
    pngs = dict(clean_pngs(store, chosen))
    return shown, joined, build_gallery(rows, pngs.__getitem__), scope


def report_input(store: Store, batches: list[str], n_clusters: int):
    from fusc_pipeline.evaluation.tables import chance_lines
    from fusc_pipeline.pictures.embedding_map import embedding_map
    from fusc_pipeline.pictures.figures import cluster_bars, confusion_figure, learning_curves
    from fusc_pipeline.report.audit_sections import label_section
    from fusc_pipeline.report.external_section import sections
    from fusc_pipeline.report.inputs import ReportInput

    shown, joined, gallery, scope = shown_gallery(store, n_clusters)
    corpus = store.table("corpus").to_pandas()
    pictures: dict = {}
    if shown is not None:
        fit = joined[(joined["n_clusters"] == shown.n_clusters) & (joined["seed"] == shown.seed)]
        test = fit[fit["split"] == "test"]
        encoder = MODELS[shown.model].encoder or "simclr"
        ids, _, vectors = embedding_arrays(store.table(f"{encoder}_embeddings"))
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
        purity=_purity(store),
        composition=store.table("cluster_composition").to_pandas(),
        corpus=corpus,
        scans=_per_batch(store, "clean_images", batches, ["image_id", "machine", "subject_source"]),
        rejected=_per_batch(store, "rejected_scans", batches),
        pseudo_labels=_per_batch(store, "pseudo_labels", batches),
        clean_images=_per_batch(store, "clean_images", batches, ["image_id", "quarantined"]),
        shown=shown,
        gallery=gallery,
        gallery_scope=scope,
        curves=_curves(store, learning_curves),
        stopped=_stopped(store),
        removal=_removal(store),
        labels=label_section(store.table("label_audit").to_pandas()),
        provenance=_provenance(store),
        groups=_purity(store, "groups"),
        external=sections(store.table("external_purity").to_pandas(), shown.model if shown else None),
        samples=_samples(store),
        encoders=_encoders(store),
        networks=_networks(store),
        service=service_section(store),
        phantom=all(store.require("scans", batch).metadata.get("phantom") for batch in batches),
        made_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        **pictures,
    )


def _removal(store: Store):
    from fusc_pipeline.pictures.gallery import thumbnail
    from fusc_pipeline.report.attention_section import MapFigure, attention_section
    from fusc_pipeline.report.audit_sections import AuditPicture, removal_section

    folder = store.folder("inpainting_audit")
    pictures = [
        AuditPicture(thumbnail((folder / case["covered"]).read_bytes(), 480)[0], case["why"])
        for case in json.loads((folder / WORST).read_text())
    ]
    maps = [
        MapFigure(thumbnail((folder / shown["picture"]).read_bytes(), 480)[0], shown["view"], shown["why"])
        for shown in json.loads((folder / MAPS).read_text())
    ]
    table = store.table("inpainting_audit").to_pandas()
    tolerated = store.require("inpainting_audit").config["tolerated_attention"]
    return removal_section(table, pictures, attention_section(table, tolerated, maps))


def _per_batch(store: Store, asset: str, batches: list[str], columns: list[str] | None = None):
    return pa.concat_tables([store.table(asset, batch, columns) for batch in batches]).to_pandas()


def _purity(store: Store, label_set: str = "views"):
    """The purity report against the fifteen views, or against their merged groups."""
    purity = store.table("purity_report").to_pandas()
    return purity[purity["label_set"] == label_set]


def _encoders(store: Store) -> list:
    """The figures of every encoder whose neighbours stand."""
    from fusc_pipeline.report.paper import EncoderFigures

    found = []
    for encoder, title in ENCODERS.items():
        name = f"{encoder}_neighbors"
        if store.record(name) and store.outdated_by(name) is None:
            network = store.require(f"{encoder}_encoder").config["encoder"]["name"]
            figures = store.require(name).metadata
            found.append(EncoderFigures(title, network, figures["knn_accuracy"], figures["neighbour_purity"]))
    return found


def _networks(store: Store) -> dict[str, str]:
    """Model → the network it was trained with."""
    found = {}
    for model, row in MODELS.items():
        encoder = f"{row.encoder}_encoder" if row.encoder else None
        record = store.record(encoder or model)
        if record is not None:
            config = record.config
            found[model] = config["encoder"]["name"] if encoder else config["backbone"]
    return found


def _samples(store: Store):
    """A frame of each view."""
    import pyarrow.compute as pc

    from fusc_pipeline.pictures.gallery import sample_frames, view_samples

    corpus = store.table("corpus")
    frames = sample_frames(corpus.to_pandas())
    # Read in one pass over the batches: a pass decodes every picture of a batch's file.
    chosen = pa.array([image_id for _, _, image_id in frames], pa.string())
    pngs = dict(clean_pngs(store, corpus.filter(pc.field("image_id").isin(chosen))))
    return view_samples(frames, pngs.__getitem__)


def _curves(store: Store, draw) -> dict[str, bytes]:
    """Learning curves of the encoders and of every model that has some, by heading."""
    keys = {
        "SimCLR pretraining": ("loss", "effective_rank", "knn_accuracy"),
        "DINO pretraining": ("loss", "teacher_entropy_share", "kl", "effective_rank", "knn_accuracy"),
        "FUSC clustering": ("loss", "consistency", "entropy"),
        "Self-labelling (FUSC*)": ("loss", "coverage", "agreement", "filled"),
        "DeepMCAT": ("loss", "agreement", "filled"),
    }
    found: dict[str, dict[str, list]] = {}
    for encoder, title in ENCODERS.items():
        if store.record(f"{encoder}_encoder"):
            found[f"{title} pretraining"] = {title: _history(store, f"{encoder}_encoder")}
    scored = set(_purity(store)["model"])
    titles = {"fusc": "FUSC clustering", "selflabel": "Self-labelling (FUSC*)", "deepmcat": "DeepMCAT"}
    for model in MODELS:
        row, method = MODELS[model], titles.get(MODELS[model].method)
        if model not in scored or method is None:
            continue
        heading = f"{method} on {ENCODERS[row.encoder]}" if row.encoder else method
        for fit in _history(store, model):
            found.setdefault(heading, {})[f"K {fit['n_clusters']}, seed {fit['seed']}"] = fit["history"]
    pictures = {
        title: draw(histories, keys[title.partition(" on ")[0]], fmt="svg") for title, histories in found.items()
    }
    return {title: picture for title, picture in pictures.items() if picture}


def _history(store: Store, asset: str) -> list:
    return json.loads((store.folder(asset) / HISTORY).read_text())


def _stopped(store: Store):
    import pandas as pd

    stopped = []
    for model in sorted(set(_purity(store)["model"])):
        if MODELS[model].method == "selflabel":
            rows = json.loads((store.folder(model) / "stopped.json").read_text())
            stopped += [{"model": model, **row} for row in rows if row["stopped_because"]]
    return pd.DataFrame(stopped, columns=["model", "n_clusters", "seed", "stopped_because"])


def _provenance(store: Store) -> dict[str, dict[str, object]]:
    packages = (
        "fusc-pipeline",
        "torch",
        "torchvision",
        "easyocr",
        "opencv-python-headless",
        "faiss-cpu",
        "scikit-learn",
    )
    shown: dict[str, dict[str, object]] = {
        "Versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
    }
    for asset in ("corpus", "simclr_encoder", "dino_encoder", *MODELS):
        record = store.record(asset)
        if record is None:
            continue
        shown[asset] = {"fingerprint": record.fingerprint[:16], "seconds": record.seconds, **record.config}
    return shown
