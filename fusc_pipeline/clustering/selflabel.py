"""Self-labelling (FUSC*): retrain on the model's own confident clusters, and stop before that does damage.

The reference code runs a fixed 200 epochs; users report lost clusters and collapse (METHODS §1.5, §6). Here three rules
stop it, without labels, and the last state that passed all of them is what is returned.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.clustering.configs import SelfLabelConfig
from fusc_pipeline.clustering.losses import confident_targets, self_label_loss
from fusc_pipeline.clustering.predictions import predict_probabilities
from fusc_pipeline.training.checkpoint import Checkpoint
from fusc_pipeline.training.loop import Schedule, average_into, decay_groups, train


@dataclass(frozen=True)
class SelfLabelResult:
    """`model`: the last good state, on the device, in eval mode. good_epochs: epochs it has had (0: unchanged).

    stopped_because: the rule that ended the run, or None when it ran its epochs.
    """

    model: nn.Module
    good_epochs: int
    stopped_because: str | None
    history: list[dict[str, Any]]


def self_label(
    model: nn.Module,
    weak_view: Callable[[Tensor], Tensor],
    strong_view: Callable[[Tensor, torch.Generator], Tensor],
    n_samples: int,
    config: SelfLabelConfig,
    compute: Compute,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    checkpoint: Path | None = None,
    run_id: str = "",
) -> SelfLabelResult:
    """Train `model` (inputs → (B, K) logits) on its confident samples 0 to n_samples−1, all of the train split.

    weak_view(indices): plain inputs, which label; strong_view(indices, generator): what is trained on. Labels are made
    in eval mode, by the weights that would be kept. `model` itself is changed; use the result's.
    History entries add, measured over all samples after the epoch: `coverage` (share at or above the threshold),
    `filled` clusters, `agreement` (NMI with the partition before), and `skipped` (batches without a confident sample).
    """
    model = compute.place(model)
    before = predict_probabilities(model, weak_view, n_samples, compute)
    partition, filled_before = before.argmax(1), len(np.unique(before.argmax(1)))
    labeller = copy.deepcopy(model) if config.ema > 0 else model
    good = copy.deepcopy(labeller)
    good_epochs = _Counter()
    optimizer = torch.optim.Adam(decay_groups([model], config.weight_decay), lr=config.lr)

    def step(batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        labeller.eval()
        with torch.no_grad(), compute.autocast():
            weak_logits = labeller(compute.formatted(weak_view(batch)))
        mask, targets = confident_targets(weak_logits, config.threshold)
        if not mask.any():
            return {"loss": 0.0, "skipped": 1.0, "trained_share": 0.0}
        model.train()
        with compute.autocast():
            strong_logits = model(compute.formatted(strong_view(batch, generator)))
        loss = self_label_loss(strong_logits, mask, targets, config.balanced)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if config.ema > 0:
            average_into(labeller, model, config.ema)
        return {"loss": loss, "skipped": 0.0, "trained_share": mask.float().mean()}

    def judge(metrics: dict[str, Any]) -> dict[str, Any]:
        after = predict_probabilities(labeller, weak_view, n_samples, compute)
        found = {
            "coverage": float((after.max(1) >= config.threshold).mean()),
            "filled": len(np.unique(after.argmax(1))),
            "agreement": float(normalized_mutual_info_score(partition, after.argmax(1))),
            # The loop gives means over steps; a count is wanted.
            "skipped": round(metrics["skipped"] * plan.steps_per_epoch),
        }
        reason = _reason_to_stop(found, metrics["trained_share"], filled_before, config)
        if reason is None:
            good.load_state_dict(labeller.state_dict())
            good_epochs.count.fill_(metrics["epoch"])
        return found | ({"stop": reason} if reason else {})

    plan = Schedule(n_samples, config.epochs, config.batch_size, config.seed, lambda _: config.lr)
    identity = digest(["selflabel", config.model_dump(), n_samples, run_id])
    state = {"model": model, "labeller": labeller, "good": good, "good_epochs": good_epochs}
    saved = Checkpoint(checkpoint, identity) if checkpoint else None
    history = train(plan, step, optimizer, state, end_epoch=judge, on_epoch=on_epoch, checkpoint=saved)
    return SelfLabelResult(good.eval(), int(good_epochs.count), history[-1].get("stop"), history)


class _Counter(torch.nn.Module):
    """A number that is saved with the state of a training."""

    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(0))


def _reason_to_stop(
    found: dict[str, Any], trained_share: float, filled_before: int, config: SelfLabelConfig
) -> str | None:
    if trained_share == 0:
        return f"no sample reached the confidence {config.threshold} in a whole epoch, so there was nothing to train on"
    if found["filled"] < filled_before - config.max_lost_clusters:
        return f"filled clusters fell from {filled_before} to {found['filled']}"
    if found["agreement"] < config.min_agreement:
        return f"agreement with the partition before fell to {found['agreement']:.2f}, below {config.min_agreement}"
    return None
