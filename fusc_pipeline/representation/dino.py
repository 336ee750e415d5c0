"""DINO pretraining (Caron et al. 2021, arXiv 2104.14294): a student learns to say of any crop what its teacher says.

The teacher is the student's moving average and sees global crops only; centring and a low temperature keep its answer
from collapsing. Defaults are the authors' ViT-S/16 (METHODS §1.2). How views are drawn is `augment`'s part.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.representation.augment import Augmentation, augmented_view
from fusc_pipeline.representation.backbones import build_backbone, check_side, patch_side, width_of
from fusc_pipeline.representation.configs import DinoConfig
from fusc_pipeline.representation.pixels import channels_of
from fusc_pipeline.representation.simclr import Monitor, collapse_diagnostics, on_cpu, run_digest, watched
from fusc_pipeline.training.checkpoint import Checkpoint
from fusc_pipeline.training.loop import (
    Schedule,
    average_into,
    cosine_between,
    cosine_with_warmup,
    decay_groups,
    train,
    trainable,
)

_PATCH = 16  # sides of local views are multiples of it


@dataclass(frozen=True)
class DinoResult:
    """The teacher's state dicts on the CPU, and one dict per epoch (see `training.train`) with the diagnostics."""

    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    history: list[dict[str, Any]]


def train_dino(
    pixels: np.ndarray,
    config: DinoConfig,
    compute: Compute,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    monitor: Monitor | None = None,
) -> DinoResult:
    """Train a backbone on (N, S, S) uint8 images; with `checkpoint` (a file) a killed run continues where it was.

    `monitor` adds its figures (of the teacher's backbone) to the history. Entries add `teacher_entropy` (nats; 0 or
    log(out_dim): collapsed), `teacher_entropy_share` (of that maximum), `kl` (teacher against student over different
    crops; 0: collapsed), `embedding_std` and `effective_rank` (of the teacher's last global features, see
    `simclr.collapse_diagnostics`).
    """
    if len(pixels) < 2:
        raise BadSetting(f"DINO needs at least 2 images, there are {len(pixels)}; add frames")
    out_dim = config.out_dim or head_size(len(pixels))
    student = _Network(config, channels_of(pixels), out_dim, config.drop_path)
    teacher = _Network(config, channels_of(pixels), out_dim, drop_path=0.0)
    check_side(student.backbone, config.backbone, pixels.shape[1])
    teacher.load_state_dict(student.state_dict())
    student, teacher = compute.place(student).train(), compute.place(teacher).train().requires_grad_(False)
    plan = _plan(len(pixels), config)
    steps = plan.steps_per_epoch
    criterion = DinoLoss(out_dim, config).to(compute.device)
    optimizer = torch.optim.AdamW(decay_groups([student], config.weight_decay), lr=config.lr, fused=True)
    weight_decay = cosine_between(config.weight_decay, config.weight_decay_end, steps * config.epochs)
    momentum = cosine_between(config.momentum, 1.0, steps * config.epochs)
    first, second, local = crops(pixels, config, compute, patch_side(student.backbone) or _PATCH)
    last: dict[str, Tensor] = {}

    def step(batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        now = int(criterion.steps)
        optimizer.param_groups[0]["weight_decay"] = weight_decay(now)
        views = compute.formatted(torch.cat([first(batch, generator), second(batch, generator)]))
        small = [local(batch, generator) for _ in range(config.n_local)]
        # Stochastic depth draws from torch's global generator: seeded by the step, so that a resumed run repeats it.
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
            with compute.autocast():
                with torch.no_grad():
                    features = teacher.backbone(views)
                    targets = teacher.head(features)
                outputs = student(views, compute.formatted(torch.cat(small)) if small else None)
        temperature = teacher_temperature(config, now / steps)
        loss, entropy = criterion(outputs.float(), targets.float(), temperature)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_grad:
            for parameter in trainable(student):
                if parameter.grad is not None:
                    nn.utils.clip_grad_norm_(parameter, config.clip_grad)
        if now < config.frozen_last_epochs * steps:
            student.head.freeze_prototypes()
        optimizer.step()
        average_into(teacher, student, momentum(now))
        last["features"] = features
        return {"loss": loss, "teacher_entropy": entropy, "kl": loss - entropy}

    def diagnostics(metrics: dict[str, Any]) -> dict[str, Any]:
        share = metrics["teacher_entropy"] / math.log(out_dim)
        watch = watched(monitor, metrics["epoch"], teacher.backbone)
        return {"teacher_entropy_share": share} | collapse_diagnostics(last["features"]) | watch

    history = train(
        plan,
        step,
        optimizer,
        {"student": student, "teacher": teacher, "criterion": criterion},
        end_epoch=diagnostics,
        on_epoch=on_epoch,
        checkpoint=Checkpoint(checkpoint, run_digest("dino", config, pixels)) if checkpoint else None,
    )
    return DinoResult(on_cpu(teacher.backbone), on_cpu(teacher.head), history)


class DinoLoss(nn.Module):
    """Cross-entropy of the student's views against the teacher's global ones, never of a view with itself (DINO,
    algorithm 1); holds the centre and the number of steps taken."""

    center: Tensor
    steps: Tensor

    def __init__(self, out_dim: int, config: DinoConfig):
        super().__init__()
        self.student_temperature, self.center_momentum = config.student_temperature, config.center_momentum
        self.register_buffer("center", torch.zeros(out_dim))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, student: Tensor, teacher: Tensor, teacher_temperature: float) -> tuple[Tensor, Tensor]:
        """student (V·B, D), the two global views first; teacher (2·B, D) → (loss, mean entropy of the teacher), nats.

        The centre, the moving average of the teacher's mean output, is updated after it was used.
        """
        targets = ((teacher - self.center) / teacher_temperature).softmax(-1).unflatten(0, (2, -1))  # (2, B, D)
        views = (student / self.student_temperature).log_softmax(-1).unflatten(0, (-1, targets.shape[1]))  # (V, B, D)
        # (2, V): mean over the batch for each pair of a teacher's and a student's view.
        pairs = -torch.einsum("tbd,vbd->tv", targets, views) / targets.shape[1]
        different = torch.ones_like(pairs, dtype=torch.bool).fill_diagonal_(False)
        with torch.no_grad():
            self.center.lerp_(teacher.mean(0), 1 - self.center_momentum)
            self.steps += 1
            entropy = torch.special.entr(targets).sum(-1).mean()
        return pairs[different].mean(), entropy


class DinoHead(nn.Module):
    """Three linear layers with GELU, L2 norm, then prototypes of normalised direction: (B, dim) → (B, out_dim)."""

    def __init__(self, dim: int, out_dim: int, config: DinoConfig):
        super().__init__()
        hidden = config.hidden_dim
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
            nn.Linear(hidden, config.bottleneck_dim),
        )  # fmt: skip
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.directions = nn.Parameter(torch.randn(out_dim, config.bottleneck_dim) * config.bottleneck_dim**-0.5)
        self.lengths = nn.Parameter(torch.ones(out_dim), requires_grad=not config.norm_last_layer)

    def forward(self, features: Tensor) -> Tensor:
        bottleneck = F.normalize(self.mlp(features), dim=-1)
        return F.linear(bottleneck, F.normalize(self.directions, dim=1) * self.lengths[:, None])

    def freeze_prototypes(self) -> None:
        """Drop this step's gradients of the last layer."""
        self.directions.grad = self.lengths.grad = None


class _Network(nn.Module):
    """Backbone and head. Views of two sizes take two passes through the backbone and one through the head."""

    def __init__(self, config: DinoConfig, channels: int, out_dim: int, drop_path: float):
        super().__init__()
        self.backbone = build_backbone(config.backbone, channels, config.seed, drop_path, config.weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + 1)
            self.head = DinoHead(width_of(self.backbone), out_dim, config)

    def forward(self, views: Tensor, small: Tensor | None) -> Tensor:
        features = self.backbone(views)
        return self.head(features if small is None else torch.cat([features, self.backbone(small)]))


def crops(
    pixels: np.ndarray, config: DinoConfig, compute: Compute, patch: int = _PATCH
) -> tuple[Callable, Callable, Callable]:
    """First global, second global and local views of the rows of `pixels` (N, S, S): (indices, generator) → images.

    patch: the side of local views is a multiple of it. The authors' blur (always, 0.1, 0.5) and solarisation (second
    global) with their probabilities; colour changes that do nothing to grey images are left out.
    """
    side = pixels.shape[-1]
    small = max(patch, round(side * config.local_share / patch) * patch)
    turn = {"rotation_degrees": config.rotation_degrees}
    # The authors blur by up to 2 pixels in crops of 224 and of 96; as much of a smaller one would leave no detail.
    whole = turn | {"min_crop_scale": config.min_global_scale, "max_blur_sigma": _blur(side, 224)}
    part = turn | {"max_crop_scale": config.min_global_scale, "max_blur_sigma": _blur(small, 96)}
    least = min(config.min_local_scale, config.min_global_scale)
    return (
        augmented_view(pixels, Augmentation(blur_p=1.0, **whole), compute),
        augmented_view(pixels, Augmentation(blur_p=0.1, solarise_p=config.solarise_p, **whole), compute),
        augmented_view(pixels, Augmentation(blur_p=0.5, min_crop_scale=least, **part), compute, size=small),
    )


def _blur(side: int, of: int) -> float:
    return min(max(2.0 * side / of, 0.1), 3.0)


def head_size(n_images: int) -> int:
    """Prototypes for a corpus: the authors' 65,536 for ImageNet's 1.3 million, at least 512; about a third of the
    images' number in between (small heads converge where large ones do not: facebookresearch/dino issue 279)."""
    return int(min(65_536, max(512, 2 ** round(math.log2(max(n_images, 1) / 3)))))


def teacher_temperature(config: DinoConfig, epoch: float) -> float:
    """Linear from teacher_temperature_start to teacher_temperature over the warm-up, then constant."""
    if epoch >= config.teacher_warmup_epochs:
        return config.teacher_temperature
    start, end = config.teacher_temperature_start, config.teacher_temperature
    return start + (end - start) * epoch / config.teacher_warmup_epochs


def _plan(n: int, config: DinoConfig) -> Schedule:
    steps = Schedule(n, config.epochs, config.batch_size, config.seed, lambda _: 0.0).steps_per_epoch
    warmup = round(config.warmup_epochs * steps)
    schedule = cosine_with_warmup(config.lr, steps * config.epochs, warmup, floor=config.min_lr)
    return Schedule(n, config.epochs, config.batch_size, config.seed, schedule)
