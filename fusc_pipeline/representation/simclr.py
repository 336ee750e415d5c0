"""SimCLR pretraining (Chen et al. 2020, arXiv 2002.05709) of a backbone on a pixel array. Views are `augment`'s part.

The loss, the projection head, LARS and the schedule are lightly's; the defaults are the FUSC reference recipe
(METHODS §1.1) where nothing else is said.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusc_pipeline.checkpoints import Checkpoint
from fusc_pipeline.compute import Compute
from fusc_pipeline.errors import BadSetting
from fusc_pipeline.hashing import digest
from fusc_pipeline.representation.augment import Augmentation, augmented_view
from fusc_pipeline.representation.backbones import build_backbone
from fusc_pipeline.settings import check_settings, setting
from fusc_pipeline.training import Plan, cosine_with_warmup, decay_groups, train


@dataclass(frozen=True)
class SimclrConfig:
    """Every choice of a SimCLR run."""

    epochs: int = setting(500, "passes over the training images", 1, 5000)
    batch_size: int = setting(512, "images a step, two views of each; more images give more negatives", 4, 8192)
    lr: float = setting(0.4, "peak learning rate at this batch size (adamw: about 1e-3)", 1e-6, 20.0)
    optimizer: str = setting("sgd", "sgd as the FUSC code, lars as SimCLR, adamw for short runs", choices=("sgd", "lars", "adamw"))
    momentum: float = setting(0.9, "of sgd and lars", 0.0, 0.999)
    weight_decay: float = setting(1e-4, "on kernels and matrices only", 0.0, 1.0)
    warmup_epochs: float = setting(0.0, "linear warm-up, in epochs", 0.0, 100.0)
    temperature: float = setting(0.1, "of NT-Xent; lower weighs hard negatives more", 0.01, 2.0)
    projection_dim: int = setting(128, "width of the projection the loss sees", 8, 2048)
    projection_batch_norm: bool = setting(False, "batch norm inside the projection head (off in the FUSC code)")
    min_crop_scale: float = setting(0.2, "smallest crop, as a share of the image's area", 0.01, 1.0)
    rotation_degrees: float = setting(0.0, "views are turned by up to this; 0 as in the paper", 0.0, 180.0)
    gamma: float = setting(0.0, "views' grey levels are raised to exp(± this)", 0.0, 1.0)
    blur_p: float = setting(0.0, "probability of a blurred view; 0 as in the paper", 0.0, 1.0)
    backbone: str = setting("resnet18", "network, one of backbones.BACKBONES")
    seed: int = setting(0, "of weights, order and views", 0, 2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self)

    def augmentation(self) -> Augmentation:
        return Augmentation(
            min_crop_scale=self.min_crop_scale,
            rotation_degrees=self.rotation_degrees,
            gamma=self.gamma,
            blur_p=self.blur_p,
        )


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
) -> SimclrResult:
    """Train a backbone on (N, S, S) uint8 images; with `checkpoint` (a file) a killed run continues where it was.

    History entries add `embedding_std` (1/√d = 0.044 for spread 512-d unit vectors, 0: collapsed) and
    `effective_rank` (Roy & Vetterli 2007, 1 to min(batch, d)) of the last batch's features.
    """
    if len(pixels) < 4:
        raise BadSetting(f"SimCLR needs at least 4 images to contrast, there are {len(pixels)}; add frames")
    backbone = compute.place(build_backbone(config.backbone, seed=config.seed))
    projection = compute.place(build_projection(backbone.out_dim, config))
    view = augmented_view(pixels, config.augmentation(), compute)
    optimizer = _optimizer(config, decay_groups([backbone, projection], config.weight_decay))
    steps = Plan(len(pixels), config.epochs, config.batch_size, config.seed, lambda _: 0.0).steps_per_epoch
    schedule = cosine_with_warmup(config.lr, steps * config.epochs, round(config.warmup_epochs * steps))
    plan = Plan(len(pixels), config.epochs, config.batch_size, config.seed, schedule)
    backbone.train(), projection.train()
    last: dict[str, Tensor] = {}

    def step(batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        # Both views in one pass: batch norm sees 2B images, and the device is fuller.
        images = torch.cat([view(batch, generator), view(batch, generator)])
        if compute.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with compute.autocast():
            features = backbone(images)
            projected = projection(features)
        loss = nt_xent(*projected.float().chunk(2), config.temperature)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        last["features"] = features.detach()
        return {"loss": loss}

    history = train(
        plan,
        step,
        optimizer,
        {"backbone": backbone, "projection": projection},
        end_epoch=lambda _: collapse_diagnostics(last["features"]),
        on_epoch=on_epoch,
        checkpoint=Checkpoint(checkpoint, run_digest("simclr", config, pixels)) if checkpoint else None,
    )
    return SimclrResult(on_cpu(backbone), on_cpu(projection), history)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent (SimCLR, equation 1) of two views' projections (B, d), in fp32: the mean over all 2B anchors."""
    from lightly.loss.ntx_ent_loss import NTXentLoss

    return NTXentLoss(temperature=temperature)(first.float(), second.float())


def build_projection(in_dim: int, config: SimclrConfig) -> nn.Module:
    """Linear–ReLU–Linear, (B, in_dim) → (B, projection_dim)."""
    from lightly.models.modules.heads import SimCLRProjectionHead

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        return SimCLRProjectionHead(in_dim, in_dim, config.projection_dim, batch_norm=config.projection_batch_norm)


@torch.no_grad()
def collapse_diagnostics(features: Tensor) -> dict[str, float]:
    """Spread of the L2-normalised features (B, d): mean standard deviation per dimension, and effective rank."""
    unit = nn.functional.normalize(features.float(), dim=1)
    # Eigenvalues of the smaller Gram matrix are the squared singular values.
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = singular / singular.sum()
    rank = torch.special.entr(share).sum().exp()
    return {"embedding_std": float(unit.std(dim=0).mean()), "effective_rank": float(rank)}


def run_digest(kind: str, config: Any, pixels: np.ndarray, *more: Any) -> str:
    """Identity of a run for its checkpoint: the configuration and the data (shape and up to 64 of its images)."""
    rows = np.unique(np.linspace(0, len(pixels) - 1, min(64, len(pixels))).astype(int))
    sample = hashlib.sha256(np.ascontiguousarray(pixels[rows]).tobytes()).hexdigest()
    return digest([kind, asdict(config), list(pixels.shape), sample, *more])


def on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """A module's state, detached from it, on the CPU and in the default memory format."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in module.state_dict().items()}


def _optimizer(config: SimclrConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    if config.optimizer == "lars":
        from lightly.utils.lars import LARS

        return LARS(groups, lr=config.lr, momentum=config.momentum)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
