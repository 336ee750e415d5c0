"""The supervised upper line: the same backbone trained on labels, what clustering is measured against.

The paper names a supervised ResNet18 and gives no recipe; this is a usual one (METHODS §1.7).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.representation.augment import augmented_view, supervised_augment
from fusc_pipeline.representation.backbones import build_backbone, width_of
from fusc_pipeline.representation.configs import SupervisedConfig
from fusc_pipeline.representation.simclr import run_digest
from fusc_pipeline.training.checkpoint import Checkpoint
from fusc_pipeline.training.loop import Schedule, cosine_with_warmup, decay_groups, train


@dataclass(frozen=True)
class SupervisedResult:
    """`model` is on the compute device in eval mode: (B, 1, S, S) → (B, C) logits."""

    model: nn.Module
    history: list[dict[str, Any]]


def train_supervised(
    pixels: np.ndarray,
    labels: np.ndarray,
    config: SupervisedConfig,
    compute: Compute,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    n_classes: int | None = None,
) -> SupervisedResult:
    """Train on (N, S, S) uint8 images whose label is 0 to C-1; -1 marks an unlabelled image, which is left out.

    C is `n_classes`, or the largest label + 1. History entries add `train_accuracy` (on the random views).
    """
    labels = np.asarray(labels, np.int64)
    if labels.shape != (len(pixels),):
        raise BadInput(f"there are {len(pixels)} images and labels of shape {labels.shape}; give one label per image")
    rows = np.flatnonzero(labels >= 0)
    if len(rows) < 2:
        raise BadInput(f"{len(rows)} of {len(labels)} images have a label; a supervised model needs at least 2")
    classes = int(n_classes or labels.max() + 1)
    if labels.max() >= classes:
        raise BadSetting(f"label {labels.max()} does not fit in {classes} classes")
    model = build_classifier(config, classes, compute)
    view = augmented_view(pixels, supervised_augment(config.min_crop_scale, config.rotation_degrees), compute)
    targets = torch.from_numpy(labels[rows]).to(compute.device)
    at = torch.from_numpy(rows)
    weights = _class_weights(targets, classes) if config.balanced else None
    optimizer = torch.optim.AdamW(decay_groups([model], config.weight_decay), lr=config.lr, fused=True)
    plan = _plan(len(rows), config)
    model.train()

    def step(batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        images = compute.formatted(view(at[batch], generator))
        with compute.autocast():
            logits = model(images)
        target = targets[batch.to(targets.device)]
        loss = F.cross_entropy(logits.float(), target, weight=weights, label_smoothing=config.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss, "train_accuracy": (logits.argmax(1) == target).float().mean()}

    identity = run_digest("supervised", config, pixels, labels.tolist(), classes)
    saved = Checkpoint(checkpoint, identity) if checkpoint else None
    history = train(plan, step, optimizer, {"model": model}, on_epoch=on_epoch, checkpoint=saved)
    return SupervisedResult(model.eval(), history)


def build_classifier(config: SupervisedConfig, n_classes: int, compute: Compute) -> nn.Module:
    """Backbone + linear layer on the device; a saved state is loaded into this."""
    backbone = build_backbone(config.backbone, seed=config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        head = nn.Linear(width_of(backbone), n_classes)
    return compute.place(nn.Sequential(backbone, head))


def _class_weights(targets: Tensor, classes: int) -> Tensor:
    """Inverse frequency, mean 1 over the images; a class without images gets 1 (it is never a target)."""
    counts = torch.bincount(targets, minlength=classes).float()
    present = (counts > 0).sum()
    return torch.where(counts > 0, len(targets) / (counts.clamp(min=1) * present), torch.ones_like(counts))


def _plan(n: int, config: SupervisedConfig) -> Schedule:
    steps = Schedule(n, config.epochs, config.batch_size, config.seed, lambda _: 0.0).steps_per_epoch
    schedule = cosine_with_warmup(config.lr, steps * config.epochs, round(config.warmup_epochs * steps))
    return Schedule(n, config.epochs, config.batch_size, config.seed, schedule)
