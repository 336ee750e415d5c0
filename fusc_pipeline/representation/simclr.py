"""SimCLR pretraining (Chen et al. 2020, arXiv 2002.05709) of a backbone on a pixel array. Views are `augment`'s part.

Defaults are the FUSC reference recipe (METHODS §1.1), but for the loss, which takes every view as an anchor as SimCLR
does (the reference code takes the first views only).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.hashing import digest, sha256_file
from fusc_pipeline.representation.augment import augmented_view
from fusc_pipeline.representation.backbones import build_backbone, check_side, width_of
from fusc_pipeline.representation.configs import SimclrConfig
from fusc_pipeline.representation.pixels import channels_of
from fusc_pipeline.training.loop import Schedule, cosine_with_warmup, decay_groups, train
from fusc_pipeline.training.ranks import SOLO, Ranks

# (epoch, backbone) → figures for the history, {} for none at this epoch. It may set the backbone's mode, nothing else.
Monitor = Callable[[int, nn.Module], dict[str, float]]


@dataclass(frozen=True)
class SimclrResult:
    """State dicts on the CPU, and one dict per epoch (see `training.train`) with the collapse diagnostics."""

    backbone: dict[str, Tensor]
    projection: dict[str, Tensor]
    history: list[dict[str, Any]]


def train_simclr(
    pixels: np.ndarray,
    config: SimclrConfig,
    compute: Compute,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    monitor: Monitor | None = None,
    ranks: Ranks = SOLO,
) -> SimclrResult:
    """Train a backbone on (N, S, S) or (N, S, S, 3) uint8 images.

    With `checkpoint` (a file) a killed run continues where it was. `ranks`: which of several processes that call this
    with the same images and settings this one is; each has the result. `monitor` adds its figures to the history, whose
    entries add `embedding_std` (1/√d = 0.044 for spread 512-d unit vectors, 0: collapsed) and `effective_rank` (Roy &
    Vetterli 2007, 1 to min(batch, d)) of the last batch's features.
    """
    if len(pixels) < 4:
        raise BadSetting(f"SimCLR needs at least 4 images to contrast, there are {len(pixels)}; add frames")
    network = build_backbone(config.backbone, channels_of(pixels), config.seed, weights=config.weights)
    check_side(network, config.backbone, pixels.shape[1])
    backbone = ranks.share_batch_norm(compute.place(network), config.backbone)
    projection = ranks.share_batch_norm(compute.place(build_projection(width_of(backbone), config)), "the projection")
    view = augmented_view(pixels, config.augmentation(), compute, share=None if ranks.world == 1 else ranks.share)
    optimizer = _optimizer(config, decay_groups([backbone, projection], config.weight_decay))
    steps = Schedule(len(pixels), config.epochs, config.batch_size, config.seed, lambda _: 0.0).steps_per_epoch
    schedule = cosine_with_warmup(config.lr, steps * config.epochs, round(config.warmup_epochs * steps))
    plan = Schedule(len(pixels), config.epochs, config.batch_size, config.seed, schedule)
    ranks.check_batch(plan.batch)
    backbone.train()
    projection.train()
    network = ranks.joined(_Both(backbone, projection))
    last: dict[str, Tensor] = {}

    def step(batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        # Both views in one pass: batch norm sees 2B images, and the device is fuller.
        images = compute.formatted(torch.cat([view(batch, generator), view(batch, generator)]))
        with compute.autocast():
            features, projected = network(images)
        loss = nt_xent(*ranks.gather_views(*projected.float().chunk(2)), config.temperature)
        optimizer.zero_grad(set_to_none=True)
        (loss * ranks.world).backward()
        optimizer.step()
        last["features"] = features.detach()
        return {"loss": loss}

    def diagnostics(metrics: dict[str, Any]) -> dict[str, Any]:
        spread = collapse_diagnostics(ranks.gather(last["features"].float()))
        return spread | watched(monitor, metrics["epoch"], backbone)

    history = train(
        plan,
        step,
        optimizer,
        {"backbone": backbone, "projection": projection},
        end_epoch=diagnostics,
        on_epoch=on_epoch,
        checkpoint=ranks.checkpoint(checkpoint, run_digest("simclr", config, pixels)) if checkpoint else None,
    )
    return SimclrResult(on_cpu(backbone), on_cpu(projection), history)


class _Both(nn.Module):
    """Images → (features, their projections)."""

    def __init__(self, backbone: nn.Module, projection: nn.Module):
        super().__init__()
        self.backbone, self.projection = backbone, projection

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(images)
        return features, self.projection(features)


def watched(monitor: Monitor | None, epoch: int, backbone: nn.Module) -> dict[str, float]:
    """What the monitor says of the backbone after this epoch (from 1); the backbone is in the mode it was in."""
    if monitor is None:
        return {}
    training = backbone.training
    found = monitor(epoch, backbone)
    backbone.train(training)
    return found


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent (SimCLR, equation 1), scalar, in fp32: the mean over all 2B anchors of the cross-entropy of finding the
    other view of the same image among the 2B − 1 other views, by cosine similarity / temperature.

    first, second (B, d): projections of two views of B images, not normalised.
    """
    views = F.normalize(torch.cat([first, second]).float(), dim=1)  # (2B, d)
    similarity = views @ views.T / temperature  # (2B, 2B)
    similarity.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(similarity, partner)


def build_projection(in_dim: int, config: SimclrConfig) -> nn.Module:
    """SimCLR's projection head, Linear–ReLU–Linear: (B, in_dim) → (B, projection_dim)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        norm = [nn.BatchNorm1d(in_dim)] if config.projection_batch_norm else []
        return nn.Sequential(nn.Linear(in_dim, in_dim), *norm, nn.ReLU(), nn.Linear(in_dim, config.projection_dim))


def load_projection(backbone: nn.Module, path: Path, compute: Compute) -> nn.Module:
    """`backbone` followed by the projection head saved at `path` (safetensors of `SimclrResult.projection`), on the
    device, with `.out_dim`: what the loss saw, for those who want to embed with it. Its widths are the file's."""
    from safetensors.torch import load_file

    state = load_file(path)
    layers = sorted(int(name.split(".")[0]) for name in state if name.endswith(".weight"))
    width = len(state[f"{layers[-1]}.weight"])
    config = SimclrConfig(projection_dim=width, projection_batch_norm=len(layers) == 3)
    projection = build_projection(width_of(backbone), config)
    projection.load_state_dict(state)
    network = nn.Sequential(backbone, projection)
    cast(Any, network).out_dim = width
    return compute.place(network)


@torch.no_grad()
def collapse_diagnostics(features: Tensor) -> dict[str, float]:
    """Spread of the L2-normalised features (B, d): mean standard deviation per dimension, and effective rank."""
    unit = F.normalize(features.float(), dim=1)
    # Eigenvalues of the smaller Gram matrix are the squared singular values.
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = singular / singular.sum()
    rank = torch.special.entr(share).sum().exp()
    return {"embedding_std": float(unit.std(dim=0).mean()), "effective_rank": float(rank)}


def run_digest(kind: str, config: Any, pixels: np.ndarray, *more: Any) -> str:
    """Identity of a run for its checkpoint: the configuration and the data (shape and up to 64 of its images).

    A file of weights counts by its content, wherever it lies.
    """
    settings = config.model_dump()
    if settings.get("weights"):
        settings["weights"] = sha256_file(Path(settings["weights"]))
    rows = np.unique(np.linspace(0, len(pixels) - 1, min(64, len(pixels))).astype(int))
    sample = hashlib.sha256(np.ascontiguousarray(pixels[rows]).tobytes()).hexdigest()
    return digest([kind, settings, list(pixels.shape), sample, *more])


def on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """A module's state, detached from it, on the CPU and in the default memory format."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in module.state_dict().items()}


def _optimizer(config: SimclrConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)  # one pass: a quarter of the time
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
