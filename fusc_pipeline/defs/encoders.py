"""Encoders: trained on the clean images, or a checkpoint as it is. The training is `representation`' part."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
import numpy as np
from pydantic import Field, create_model

from fusc_pipeline.defs.failures import refusals
from fusc_pipeline.defs.gpu import GPU_OP
from fusc_pipeline.defs.materialize import materialize
from fusc_pipeline.defs.models import (
    HISTORY,
    WEIGHTS,
    CorpusPixels,
    EncoderChoice,
    PixelsConfig,
    curves_markdown,
    log_device,
    save_weights,
)
from fusc_pipeline.defs.progress import Progress
from fusc_pipeline.defs.settings import asset_config, settings_of
from fusc_pipeline.defs.tables import label_numbers
from fusc_pipeline.representation.configs import DinoConfig, SimclrConfig
from fusc_pipeline.resources.resource import StoreResource

CHECKPOINT = "checkpoint.pt"
PROJECTION = "projection.safetensors"
KNN = 20  # neighbours that vote, as DINO's authors have it


@dataclass(frozen=True)
class Trained:
    """What a pretraining run leaves: state dicts of the backbone and the part the loss saw, and the metric history."""

    backbone: dict[str, Any]
    projection: dict[str, Any]
    history: list[dict[str, Any]]


def encoder_base(name: str) -> type[PixelsConfig]:
    """The config every encoder asset has, with this network where none is named."""
    choice = (EncoderChoice, Field(default=EncoderChoice(name=name), description="Which network, and its weights."))
    every = Field(
        default=10,
        ge=0,
        description="Epochs between two measurements of k-NN accuracy on the test split's labels; 0: never.",
        json_schema_extra={"runtime": True},
    )
    return create_model("EncoderBase", __base__=PixelsConfig, encoder=choice, monitor_every=(int, every))


def encoder_asset(
    encoder: str,
    config_class: type[PixelsConfig],
    train: Callable[..., Trained],
    curves: tuple[str, ...],
    description: str,
) -> dg.AssetsDefinition:
    """An encoder trained on the train split's clean images.

    train(pixels, asset config, compute, checkpoint, on_epoch, monitor); curves: entries of the history to plot, and to
    keep as metadata.
    """
    name = f"{encoder}_encoder"

    @dg.asset(
        name=name,
        deps=["corpus"],
        group_name="representation",
        kinds={"pytorch"},
        code_version="1",
        description=f"{description} Resumable: a killed run continues from its last checkpoint, to the same weights.",
        **GPU_OP,
    )
    def asset(context: dg.AssetExecutionContext, config: config_class, store: StoreResource) -> dg.MaterializeResult:
        files = store.get()

        def produce(draft):
            compute = config.compute()
            log_device(context, compute)
            corpus = CorpusPixels(files, config.image_size, config.resize)
            pixels = np.asarray(corpus.pixels[corpus.rows("train")])
            if config.encoder.frozen:
                weights, figures = _as_given(pixels, config, compute)
                save_weights(draft.path(WEIGHTS), weights)
                draft.path(HISTORY).write_text("[]")
                draft.metadata |= {"trained": "no, as given", **figures}
                return
            progress, monitor = Progress(context, name, config.epochs), _knn_monitor(corpus, config, compute)
            result = train(pixels, config, compute, draft.work / CHECKPOINT, progress, monitor)
            save_weights(draft.path(WEIGHTS), result.backbone)
            save_weights(draft.path(PROJECTION), result.projection)
            draft.path(HISTORY).write_text(json.dumps(result.history))
            last = result.history[-1]
            draft.metadata |= {"images_per_second": round(last["images_per_second"], 1)}
            draft.metadata |= {key: last[key] for key in curves}
            draft.metadata |= {"curves": curves_markdown(result.history, (*curves, "knn_accuracy"))}

        with refusals(discreet=False):  # a wrong path stays wrong: not to be tried again
            extra = config.encoder.content()
        return materialize(context, files, config, produce, upstream=["corpus"], extra=extra, model=True)

    return asset


def _knn_monitor(corpus: CorpusPixels, config: Any, compute: Any) -> Callable[[int, Any], dict[str, float]] | None:
    """k-NN accuracy on the labelled test images, every few epochs: labels watch the training, they do not steer it."""
    from fusc_pipeline.clustering.neighbors import knn_accuracy, nearest_neighbors
    from fusc_pipeline.representation.backbones import embed

    labels = label_numbers(corpus.table, corpus.ids)
    splits = np.array(corpus.table.column("split").to_pylist())
    train, test = (np.flatnonzero((splits == part) & (labels >= 0)) for part in ("train", "test"))
    if not config.monitor_every or not len(train) or not len(test):
        return None
    ids, rows = np.array(corpus.ids), np.concatenate([train, test])

    def monitor(epoch: int, backbone: Any) -> dict[str, float]:
        if epoch % config.monitor_every and epoch != config.epochs:
            return {}
        vectors = embed(backbone, np.asarray(corpus.pixels[rows]), compute)
        known, asked = vectors[: len(train)], vectors[len(train) :]
        near, similarities = nearest_neighbors(known, ids[train], asked, ids[test], KNN)
        return {"knn_accuracy": knn_accuracy(near, similarities, labels[train], labels[test])}

    return monitor


def _as_given(pixels: np.ndarray, config: Any, compute: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """(weights, diagnostics on some training images) of a frozen encoder."""
    import torch

    from fusc_pipeline.representation.backbones import build_backbone, check_side, embed
    from fusc_pipeline.representation.simclr import collapse_diagnostics, on_cpu

    network = build_backbone(config.encoder.name, weights=config.encoder.weights)
    check_side(network, config.encoder.name, config.image_size)
    figures = collapse_diagnostics(torch.from_numpy(embed(network, pixels[:512], compute)))
    return on_cpu(network), figures


# Sized for two CPU cores and some thousand frames; the paper's own values are the dataclass's (500 epochs, batch 512).
SimclrEncoderConfig = asset_config(
    "SimclrEncoderConfig",
    SimclrConfig,
    base=encoder_base("resnet18"),
    without=("backbone", "weights"),
    epochs=50,
    batch_size=64,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=1e-2,
    warmup_epochs=4.0,
    rotation_degrees=90.0,
)

# The same, for a vision transformer: few local views, a teacher that follows faster, a small head.
DinoEncoderConfig = asset_config(
    "DinoEncoderConfig",
    DinoConfig,
    base=encoder_base("vit_small_patch16_224"),
    without=("backbone", "weights"),
    epochs=60,
    batch_size=64,
    lr=1.25e-4,  # the authors' 5e-4 is for batches of 256
    warmup_epochs=6.0,
    hidden_dim=512,
    bottleneck_dim=128,
    momentum=0.99,
    n_local=4,
    local_share=0.5,
    rotation_degrees=90.0,
)


def _settings(config: Any, target: type) -> Any:
    return settings_of(config, target, backbone=config.encoder.name, weights=config.encoder.weights)


def _train_simclr(pixels, config, compute, checkpoint, on_epoch, monitor) -> Trained:
    from fusc_pipeline.representation.simclr import train_simclr

    result = train_simclr(pixels, _settings(config, SimclrConfig), compute, checkpoint, on_epoch, monitor)
    return Trained(result.backbone, result.projection, result.history)


def _train_dino(pixels, config, compute, checkpoint, on_epoch, monitor) -> Trained:
    from fusc_pipeline.representation.dino import train_dino

    result = train_dino(pixels, _settings(config, DinoConfig), compute, checkpoint, on_epoch, monitor)
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
