"""Encoders: trained on the clean images, or a checkpoint as it is. The training is `representation`'s part."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from fusc_pipeline.base.settings import settings_of
from fusc_pipeline.defs.engine.arrays import label_numbers
from fusc_pipeline.defs.engine.gpu import device_of
from fusc_pipeline.defs.engine.networks import (
    WEIGHTS,
    CorpusPixels,
    curves_markdown,
    load_weights,
    log_device,
    save_weights,
    write_history,
)
from fusc_pipeline.defs.engine.progress import Progress
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.representation.encoder_configs import DinoEncoderConfig, EncoderConfig, SimclrEncoderConfig
from fusc_pipeline.defs.representation.trainers import split_rows, train_apart
from fusc_pipeline.defs.representation.warm_start import warm_start
from fusc_pipeline.representation.configs import DinoConfig, SimclrConfig
from fusc_pipeline.store.store import Store
from fusc_pipeline.store.whole import HISTORY

CHECKPOINT = "checkpoint.pt"
PROJECTION = "projection.safetensors"


@dataclass(frozen=True)
class Trained:
    """What a pretraining run leaves: state dicts of the backbone and the part the loss saw, and the metric history."""

    backbone: dict[str, Any]
    projection: dict[str, Any]
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """A training as an asset asks for it. corpus: its images; weights: a file to start from, "" for none; checkpoint:
    its file, in a folder that outlives a kill."""

    context: dg.AssetExecutionContext
    corpus: CorpusPixels
    config: Any
    weights: str
    checkpoint: Path
    progress: Progress

    def settings(self, target: type) -> Any:
        """The dataclass of the training's own settings."""
        return settings_of(self.config, target, backbone=self.config.encoder.name, weights=self.weights)

    def compute(self) -> Any:
        """The device, told in the log."""
        found = self.config.compute()
        log_device(self.context, found)
        return found

    def train_pixels(self) -> np.ndarray:
        """(N, S, S) images of the train split."""
        return np.asarray(self.corpus.pixels[self.corpus.rows("train")])

    def monitor(self, compute: Any) -> Callable[[int, Any], dict[str, float]] | None:
        """k-NN accuracy on the test split's labels."""
        from fusc_pipeline.representation.knn_monitor import knn_monitor

        labels = label_numbers(self.corpus.table, self.corpus.ids)
        rows = (self.corpus.rows("train"), self.corpus.rows("test"))
        epochs = (self.config.monitor_every, self.config.epochs)
        return knn_monitor(self.corpus.pixels, self.corpus.ids, labels, rows, epochs, compute)


def encoder_asset(
    encoder: str,
    config_class: type[EncoderConfig],
    train: Callable[[Task], Trained],
    curves: tuple[str, ...],
    description: str,
) -> dg.AssetsDefinition:
    """An encoder trained on the train split's clean images.

    curves: entries of the history to plot, and to keep as metadata.
    """
    name = f"{encoder}_encoder"

    @stored_asset(
        name=name,
        deps=["corpus"],
        group="representation",
        kinds={"pytorch"},
        code_version="1",
        description=f"{description} Resumable: a killed run continues from its last checkpoint, to the same weights.",
        gpu=True,
        config_class=config_class,
    )
    def asset(context: Request, config: Any, store: Store) -> Work:

        def produce(draft):
            corpus = CorpusPixels(store, config.image_size, config.resize)
            if config.encoder.frozen:
                weights, figures = _as_given(corpus, config)
                save_weights(draft.path(WEIGHTS), weights)
                write_history(draft, [])
                draft.metadata |= {"trained": "no, as given", **figures}
                return
            start = config.encoder.weights
            if config.warm_start:
                chosen = warm_start(context.log, store, name, config, draft.work)
                start = chosen.weights
                draft.metadata |= {"start": chosen.words, "started_from_model": chosen.model}
            progress = Progress(context.run, name, config.epochs)
            result = train(Task(context.run, corpus, config, start, draft.work / CHECKPOINT, progress))
            save_weights(draft.path(WEIGHTS), result.backbone)
            save_weights(draft.path(PROJECTION), result.projection)
            write_history(draft, result.history)
            last = result.history[-1]
            draft.metadata |= {"images_per_second": round(last["images_per_second"], 1)}
            draft.metadata |= {key: last[key] for key in curves}
            draft.metadata |= {"curves": curves_markdown(result.history, (*curves, "knn_accuracy"))}

        holds = [WEIGHTS, HISTORY] if config.encoder.frozen else [WEIGHTS, HISTORY, PROJECTION]
        return Work(produce, extra=config.content(), holds=holds, model=True)

    return asset


def _as_given(corpus: CorpusPixels, config: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """(weights, diagnostics on some training images) of a frozen encoder."""
    import torch

    from fusc_pipeline.representation.backbones import build_backbone, check_side, embed
    from fusc_pipeline.representation.simclr import collapse_diagnostics, on_cpu

    network = build_backbone(config.encoder.name, weights=config.encoder.weights)
    check_side(network, config.encoder.name, config.image_size)
    pixels = np.asarray(corpus.pixels[corpus.rows("train")[:512]])
    figures = collapse_diagnostics(torch.from_numpy(embed(network, pixels, config.compute())))
    return on_cpu(network), figures


def _train_simclr(task: Task) -> Trained:
    from fusc_pipeline.representation.simclr import train_simclr
    from fusc_pipeline.training.job import ranks_for

    settings = task.settings(SimclrConfig)
    with device_of(task.context, task.config) as lease:
        cards = len(lease.devices) if lease and lease.kind == "cuda" else 1
        processes = ranks_for(task.config.processes, cards, min(settings.batch_size, len(task.corpus.rows("train"))))
        if processes > 1:
            return _train_apart(task, settings, processes, lease)
    compute = task.compute()
    pixels, monitor = task.train_pixels(), task.monitor(compute)
    result = train_simclr(pixels, settings, compute, task.checkpoint, task.progress, monitor)
    return Trained(result.backbone, result.projection, result.history)


def _train_apart(task: Task, settings: SimclrConfig, processes: int, lease: Any) -> Trained:
    from fusc_pipeline.base.compute import usable_threads
    from fusc_pipeline.training.job import Job

    corpus, config = task.corpus, task.config
    job = Job(
        folder=str(task.checkpoint.parent / "job"),
        pixels=str(corpus.folder),
        checkpoint=str(task.checkpoint),
        config=settings.model_dump(),
        device=lease.kind,
        threads=config.threads or max(1, usable_threads() // processes),
        monitor_every=config.monitor_every,
    )
    labels = label_numbers(corpus.table, corpus.ids)
    job.write(**split_rows(corpus.table.column("split").to_pylist(), corpus.ids, labels))
    result = train_apart(task.context, job, processes, lease.environment, task.progress)
    history = json.loads((result / HISTORY).read_text())
    return Trained(load_weights(result / WEIGHTS), load_weights(result / PROJECTION), history)


def _train_dino(task: Task) -> Trained:
    from fusc_pipeline.representation.dino import train_dino

    compute = task.compute()
    pixels, monitor = task.train_pixels(), task.monitor(compute)
    result = train_dino(pixels, task.settings(DinoConfig), compute, task.checkpoint, task.progress, monitor)
    return Trained(result.backbone, result.head, result.history)


simclr_encoder = encoder_asset(
    "simclr",
    SimclrEncoderConfig,
    _train_simclr,
    ("loss", "effective_rank"),
    "A ResNet18 trained by contrast on the train split's clean images, without labels (SimCLR).",
)
dino_encoder = encoder_asset(
    "dino",
    DinoEncoderConfig,
    _train_dino,
    ("loss", "teacher_entropy_share", "kl", "effective_rank"),
    "A ViT-S/16 trained by self-distillation on the train split's clean images, without labels (DINO).",
)
