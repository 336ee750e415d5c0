"""The one training loop: epochs over shuffled indices, learning-rate schedule, metric history, resumable checkpoints.

What is trained, and on what, is the caller's (`representation.simclr`, `clustering.fusc`, …). Torch is imported when
it is needed.

Randomness is counter-based: the order of an epoch and the draws of a step come from generators seeded by (seed, epoch)
and (seed, step). A run that is killed and restarted therefore repeats exactly what it would have done, and no generator
state has to be saved.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch

# (indices of the batch, generator of the step) -> metrics of the step, each a scalar tensor or float; the step itself
# runs forward, backward and optimizer.step().
Step = Callable[["torch.Tensor", "torch.Generator"], dict[str, Any]]
# metrics of the epoch -> further metrics to record; the key "stop" (a reason) ends training after this epoch.
EndEpoch = Callable[[dict[str, Any]], dict[str, Any]]
OnEpoch = Callable[[dict[str, Any]], None]

_ORDER, _STEP = 0, 1  # separate streams of one seed


@dataclass(frozen=True)
class Schedule:
    """How long and in what portions: samples an epoch, epochs, batch size, seed, and the learning rate of each step."""

    n_samples: int
    epochs: int
    batch_size: int
    seed: int
    learning_rate: Callable[[int], float]

    def __post_init__(self) -> None:
        if self.n_samples < 2:
            raise BadSetting(f"training needs at least 2 samples, there are {self.n_samples}; add frames")

    @property
    def batch(self) -> int:
        return min(self.batch_size, self.n_samples)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches only: contrastive losses and batch statistics need batches of one size."""
        return self.n_samples // self.batch


def generator(*key: int) -> "torch.Generator":
    """A CPU generator for this key (seed, stream, counter, …); equal keys give equal draws, on every device."""
    import torch

    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def batches_of_epoch(plan: Schedule, epoch: int) -> "list[torch.Tensor]":
    """Index batches (each `plan.batch` long) of this epoch, in random order, without replacement."""
    import torch

    order = torch.randperm(plan.n_samples, generator=generator(plan.seed, _ORDER, epoch))
    return list(order[: plan.steps_per_epoch * plan.batch].split(plan.batch))


def train(
    plan: Schedule,
    step: Step,
    optimizer: "torch.optim.Optimizer",
    state: dict[str, Any],
    *,
    end_epoch: EndEpoch | None = None,
    on_epoch: OnEpoch | None = None,
    checkpoint: Checkpoint | None = None,
    save_every_seconds: float | None = None,
) -> list[dict[str, Any]]:
    """Run the plan, or what is left of it after a kill; returns the metric history, one dict per epoch.

    `state` holds everything that changes besides the optimiser, by name: objects with `state_dict` and
    `load_state_dict`. A history entry has `epoch` (from 1), `lr` (last step's), `seconds`, `images_per_second`, the
    mean of each step metric, and what `end_epoch` adds. A loss that is not finite raises BadSetting.
    A second trainer on the same checkpoint file waits until the first is done.
    """
    with contextlib.nullcontext() if checkpoint is None else checkpoint.alone():
        return _train(plan, step, optimizer, state, end_epoch, on_epoch, checkpoint, save_every_seconds)


def _train(
    plan: Schedule,
    step: Step,
    optimizer: "torch.optim.Optimizer",
    state: dict[str, Any],
    end_epoch: EndEpoch | None,
    on_epoch: OnEpoch | None,
    checkpoint: Checkpoint | None,
    save_every_seconds: float | None,
) -> list[dict[str, Any]]:
    every = checkpoint_seconds() if save_every_seconds is None else save_every_seconds
    done, sums, history = 0, {}, []
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        for name, part in state.items():
            part.load_state_dict(saved["state"][name])
        optimizer.load_state_dict(saved["optimizer"])
        done, sums, history = saved["done"], saved["sums"], saved["history"]

    def save() -> None:
        if checkpoint is not None:
            parts = {name: part.state_dict() for name, part in state.items()}
            totals = {name: float(value) for name, value in sums.items()}
            payload = {"state": parts, "optimizer": optimizer.state_dict(), "done": done, "history": history}
            checkpoint.save(payload | {"sums": totals})

    saved_at = time.monotonic()
    for epoch in range(done // plan.steps_per_epoch, plan.epochs):
        if history and history[-1].get("stop"):
            break
        started, steps_here = time.monotonic(), 0
        for batch in batches_of_epoch(plan, epoch)[done - epoch * plan.steps_per_epoch :]:
            lr = plan.learning_rate(done)
            for group in optimizer.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
            for name, value in step(batch, generator(plan.seed, _STEP, done)).items():
                # Kept on the device: reading a value every step would make the device wait for the host.
                sums[name] = sums.get(name, 0.0) + (value.detach().double() if hasattr(value, "detach") else value)
            done, steps_here = done + 1, steps_here + 1
            if time.monotonic() - saved_at > every and done % plan.steps_per_epoch:
                save()
                saved_at = time.monotonic()
        seconds = time.monotonic() - started
        entry = {"epoch": epoch + 1, "lr": lr, "seconds": seconds}
        entry["images_per_second"] = steps_here * plan.batch / max(seconds, 1e-9)
        entry |= {name: float(value) / plan.steps_per_epoch for name, value in sums.items()}
        if end_epoch is not None:
            entry |= end_epoch(entry)
        if not np.isfinite(entry.get("loss", 0.0)):
            raise BadSetting(f"the loss became {entry['loss']} in epoch {epoch + 1}; lower the learning rate ({lr:g})")
        sums = {}
        history.append(entry)
        if time.monotonic() - saved_at > every or epoch + 1 == plan.epochs or entry.get("stop"):
            save()
            saved_at = time.monotonic()
        if on_epoch is not None:
            on_epoch(entry)
    return history


def checkpoint_seconds() -> float:
    """Seconds between checkpoints: the environment variable FUSC_CHECKPOINT_SECONDS, else 60."""
    given = os.environ.get("FUSC_CHECKPOINT_SECONDS", "60")
    try:
        return float(given)
    except ValueError:
        raise BadSetting(f"FUSC_CHECKPOINT_SECONDS is {given!r}; give a number of seconds") from None


def cosine_with_warmup(peak: float, steps: int, warmup_steps: int = 0, floor: float = 0.0) -> Callable[[int], float]:
    """Learning rate of step 0 to steps − 1: linear warm-up to `peak`, then half a cosine to `floor` at the last."""
    warmup = min(warmup_steps, steps - 1)

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        progress = (step - warmup) / max(steps - 1 - warmup, 1)
        return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2

    return rate


def cosine_between(start: float, end: float, steps: int) -> Callable[[int], float]:
    """Half a cosine from `start` at step 0 to `end` at step `steps` − 1 and after."""

    def value(step: int) -> float:
        progress = min(step / max(steps - 1, 1), 1.0)
        return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2

    return value


def average_into(average: "torch.nn.Module", model: "torch.nn.Module", decay: float) -> None:
    """Exponential moving average of the parameters, in place; buffers (batch norm statistics) are copied."""
    import torch

    with torch.no_grad():
        for kept, new in zip(average.parameters(), model.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)
        for still, now in zip(average.buffers(), model.buffers(), strict=True):
            still.copy_(now)


def trainable(module: Any) -> "list[torch.nn.Parameter]":
    """The parameters that take a gradient."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def decay_groups(modules: "list[torch.nn.Module]", weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: weight decay for matrices and kernels, none for biases and normalisation."""
    parameters = [parameter for module in modules for parameter in trainable(module)]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
