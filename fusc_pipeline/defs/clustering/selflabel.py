"""Self-labelling (FUSC*): the asset that continues every fit of a FUSC asset, by `clustering.selflabel`."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.settings import default_of, settings_of
from fusc_pipeline.clustering.configs import SelfLabelConfig, SelfLabelTraining
from fusc_pipeline.defs.clustering.fits import Row, fit_each, load_fit
from fusc_pipeline.defs.clustering.fusc import cluster_model, predict_whole
from fusc_pipeline.defs.engine.arrays import cluster_rows
from fusc_pipeline.defs.engine.networks import (
    ComputeConfig,
    CorpusPixels,
    ImagePixels,
    ModelFiles,
    curves_markdown,
    load_backbone,
    log_device,
)
from fusc_pipeline.defs.engine.progress import Progress
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import fit_files, fit_name

STOPPED = "stopped.json"  # why each fit ended


class SelfLabelHeadConfig(ComputeConfig, SelfLabelTraining):
    """Self-labelling (FUSC*). It continues every fit of the FUSC asset before it."""

    epochs: int = default_of(SelfLabelTraining, "epochs", 5)
    batch_size: int = default_of(SelfLabelTraining, "batch_size", 128)

    seeds: list[int] = Field(
        default=[],
        description="Which of the FUSC asset's seeds are continued; empty: all. A network is trained for each.",
    )
    rotation_degrees: float = Field(
        default=90.0, ge=0.0, le=180.0, description="Strong views are turned by up to this; 0 as in the paper."
    )


def row(encoder: str) -> Row:
    """Self-labelling of one encoder's FUSC fits."""
    before, name = f"fusc_{encoder}", f"fusc_{encoder}_selflabel"

    @stored_asset(
        name=name,
        deps=["corpus", f"{encoder}_encoder", before],
        group="clustering",
        kinds={"pytorch", "parquet"},
        code_version="1",
        description=(
            f"FUSC* on {encoder}: the network retrained on its own confident assignments. Stops before it loses "
            "clusters or leaves the partition it started from; the last good state is kept."
        ),
        gpu=True,
    )
    def selflabel(context: Request, config: SelfLabelHeadConfig, store: Store) -> Work:

        def continued() -> tuple[list[int], list[int]]:
            """K and seeds of the fits that are continued."""
            earlier = store.require(before).config
            return earlier["n_clusters"], _continued(config.seeds, earlier["seeds"], before)

        def produce(draft):
            compute = config.compute()
            log_device(context.run, compute)
            settings = store.require(f"{encoder}_encoder").config
            corpus = CorpusPixels(store, settings["image_size"], settings["resize"])
            histories = fit_each(
                draft,
                *continued(),
                lambda k, seed: _self_label_fit(
                    context.run, store, encoder, config, compute, corpus, k, seed, draft.work
                ),
            )
            stopped = [
                {"n_clusters": f["n_clusters"], "seed": f["seed"], "stopped_because": f["history"][-1].get("stop")}
                for f in histories
            ]
            draft.path(STOPPED).write_text(json.dumps(stopped))
            lines = ["| K | seed | epochs | coverage | filled | stopped because |", "|--:|--:|--:|--:|--:|---|"]
            for fit, stop in zip(histories, stopped, strict=True):
                last = fit["history"][-1]
                lines.append(
                    f"| {fit['n_clusters']} | {fit['seed']} | {last['epoch']} | {last['coverage']:.2f} "
                    f"| {last['filled']} | {stop['stopped_because'] or 'ran its epochs'} |"
                )
            last = histories[-1]["history"]
            draft.metadata |= {
                "runs": {"md": "\n".join(lines)},
                "curves": curves_markdown(last, ("loss", "coverage", "agreement")),
            }

        return Work(produce, holds=lambda: [*fit_files(*continued()), STOPPED])

    def predict(store: ModelFiles, compute: Any, n_clusters: int, seed: int, images: ImagePixels) -> np.ndarray:
        return predict_whole(store, compute, encoder, load_fit(store, name, n_clusters, seed), images)

    return Row(selflabel, "selflabel", predict, sees=f"{encoder}_encoder", encoder=encoder, fits_of=before)


def _continued(wanted: list[int], there: list[int], before: str) -> list[int]:
    """The seeds to go on from; raises BadSetting for one that was never fitted."""
    if missing := sorted(set(wanted) - set(there)):
        raise BadSetting(f"{before}_selflabel.seeds holds {missing[0]}, which {before} has not; it has {there}")
    return wanted or there


def _self_label_fit(
    context: dg.AssetExecutionContext,
    store: Store,
    encoder: str,
    config: SelfLabelHeadConfig,
    compute: Any,
    corpus: CorpusPixels,
    n_clusters: int,
    seed: int,
    work: Path,
):
    from fusc_pipeline.clustering.predictions import predict_probabilities
    from fusc_pipeline.clustering.selflabel import self_label
    from fusc_pipeline.representation.augment import augmented_view, plain_view, strong_augment

    settings = settings_of(config, SelfLabelConfig, seed=seed)
    before = f"fusc_{encoder}"
    earlier = store.require(before).config
    fits = len(earlier["n_clusters"]) * len(config.seeds or earlier["seeds"])
    # A head trained on cached embeddings has no backbone weights of its own: the encoder's stay in place.
    backbone = load_backbone(store, compute, f"{encoder}_encoder")
    model = cluster_model(load_fit(store, before, n_clusters, seed), backbone)
    train = np.asarray(corpus.pixels[corpus.rows("train")])
    name = f"{context.asset_key.to_user_string()} K={n_clusters} seed={seed}"
    result = self_label(
        model,
        plain_view(train, compute),
        augmented_view(train, strong_augment(config.rotation_degrees), compute),
        len(train),
        settings,
        compute,
        on_epoch=Progress(context, name, settings.epochs, fits=fits),
        checkpoint=work / f"{fit_name(n_clusters, seed)}.pt",
        run_id=store.require(before).data_version,
    )
    probabilities = predict_probabilities(result.model, plain_view(corpus.pixels, compute), len(corpus.ids), compute)
    splits = corpus.table.column("split").to_pylist()
    return cluster_rows(corpus.ids, splits, probabilities, n_clusters, seed), result.model.state_dict(), result.history
