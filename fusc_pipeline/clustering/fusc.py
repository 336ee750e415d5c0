"""FUSC's clustering step: train a cluster model so that neighbours agree and clusters are used evenly (equation 1).

One loop for both modes. The caller decides what a sample is: a `view` that returns augmented images trains the whole
network (what the reference code does), one that returns rows of cached embeddings trains the heads alone (what the
paper's text says). The loss is in `losses`, the model in `heads`; no labels are used anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.clustering.configs import FuscConfig
from fusc_pipeline.clustering.heads import ClusterModel, kmeans_prototypes
from fusc_pipeline.clustering.kmeans import require_samples
from fusc_pipeline.clustering.losses import fusc_loss
from fusc_pipeline.training.checkpoint import Checkpoint
from fusc_pipeline.training.loop import Schedule, decay_groups, train, trainable

View = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class FuscResult:
    """`model`: (B, K) logits of the kept head, on the device, in eval mode; `head_losses`: (H,), of the last epoch."""

    model: ClusterModel
    head: int
    head_losses: list[float]
    history: list[dict[str, Any]]


def fit_fusc(
    model: ClusterModel,
    view: View,
    neighbours: Tensor | np.ndarray,
    config: FuscConfig,
    compute: Compute,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    checkpoint: Path | None = None,
    run_id: str = "",
) -> FuscResult:
    """Train `model` in place on samples 0 to N−1; `neighbours` (N, k): indices of each one's nearest, without itself.

    `view(indices, generator)` gives the model's inputs, on the device. With `checkpoint` (a file) a killed run
    continues where it was; `run_id` tells runs on other data apart there. History entries add `loss`, `consistency` and
    `entropy` (nats, at most log K) of the best head of that epoch, `best_head`, and each head's `total_head_<h>`, ….
    Raises BadSetting when N < K, BadInput for neighbours that are no indices of samples.
    """
    neighbours = torch.as_tensor(neighbours, dtype=torch.int64)
    n = len(neighbours)
    require_samples(n, config.n_clusters)
    if neighbours.ndim != 2 or neighbours.shape[1] < 1 or not (0 <= int(neighbours.min()) <= int(neighbours.max()) < n):
        raise BadInput(
            f"neighbours must be indices 0 to {n - 1}, shape (N, k) with k at least 1; got {tuple(neighbours.shape)}"
        )
    if (model.n_heads, model.n_clusters) != (config.n_heads, config.n_clusters):
        raise BadSetting(
            f"the model has {model.n_heads} heads of {model.n_clusters} clusters, the configuration asks for "
            f"{config.n_heads} of {config.n_clusters}; build it with build_cluster_model"
        )
    if config.memory > 0 and trainable(model.backbone):
        # Measured on whole networks: predictions a few steps old steer the entropy's gradient by a state that is gone;
        # the entropy oscillates, and 15 clusters fell to 4 in 10 epochs (memory 512, batch 32).
        raise BadSetting(
            f"FuscConfig.memory is {config.memory}; with a trained backbone it must be 0: old predictions lag "
            "behind and clusters collapse: raise batch_size instead, or train the heads on cached embeddings"
        )
    model = compute.place(model).train()
    heads, k = range(config.n_heads), neighbours.shape[1]
    drawn_neighbours = min(config.neighbors_per_step, k)
    head_parameters = [model.weight, model.bias]
    groups = decay_groups([model.backbone], config.weight_decay)
    groups += [{"params": head_parameters, "weight_decay": config.weight_decay, "lr_scale": config.head_lr / config.lr}]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]], lr=config.lr)
    memory = RecentPredictions(config.memory, config.n_heads, config.n_clusters).to(compute.device)

    def step(batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        picks = torch.rand(len(batch), k, generator=generator).argsort(1)[:, :drawn_neighbours]
        others = neighbours[batch].gather(1, picks).flatten()
        # One pass, so that anchors and neighbours are normalised by the same batch statistics.
        inputs = compute.formatted(torch.cat([view(batch, generator), view(others, generator)]))
        with compute.autocast():
            logits = model(inputs)  # (B + B·n, H, K)
        anchors, near = logits[: len(batch)], logits[len(batch) :].unflatten(0, (len(batch), drawn_neighbours))
        share, means = memory.share(len(batch)), memory.mean()
        terms = [
            fusc_loss(anchors[:, h], near[:, :, h], config.entropy_weight, None if means is None else means[h], share)
            for h in heads
        ]
        # Each head trains as if alone (Adam does not see the factor), the backbone by all of them.
        loss = torch.stack([term.total for term in terms]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        memory.add(anchors.detach().float().softmax(-1))
        return {f"{name}_head_{h}": value for h in heads for name, value in terms[h]._asdict().items()}

    def of_best_head(metrics: dict[str, Any]) -> dict[str, Any]:
        best = min(heads, key=lambda h: metrics[f"total_head_{h}"])
        of_best = {name: metrics[f"{name}_head_{best}"] for name in ("consistency", "entropy")}
        return of_best | {"loss": metrics[f"total_head_{best}"], "best_head": best}

    identity = digest(["fusc", config.model_dump(), n, neighbours[:: max(1, n // 64)].tolist(), run_id])
    history = train(
        Schedule(n, config.epochs, config.batch_size, config.seed, lambda _: config.lr),
        step,
        optimizer,
        {"model": model, "memory": memory},
        end_epoch=of_best_head,
        on_epoch=on_epoch,
        checkpoint=Checkpoint(checkpoint, identity) if checkpoint else None,
    )
    last = history[-1]
    model.keep_head(last["best_head"])
    return FuscResult(model.eval(), last["best_head"], [last[f"total_head_{h}"] for h in heads], history)


def build_cluster_model(
    config: FuscConfig, dim: int, backbone: nn.Module | None = None, embeddings: np.ndarray | None = None
) -> ClusterModel:
    """The model `fit_fusc` trains: on `backbone` ((B, …) → (B, dim), trained as well), or without one on embeddings.

    `embeddings` (N, dim) of the training samples are needed for init = "kmeans".
    """
    model = ClusterModel(backbone, dim, config.n_clusters, config.n_heads, config.seed)
    if config.init == "kmeans":
        if embeddings is None:
            raise BadSetting('init is "kmeans", which needs the training embeddings; pass them or set init to "random"')
        model.start_from_prototypes(kmeans_prototypes(embeddings, config.n_clusters, config.n_heads, config.seed))
    return model


class RecentPredictions(nn.Module):
    """A ring of the last `size` anchors' predictions of every head, detached; saved with the model."""

    ring: Tensor
    written: Tensor

    def __init__(self, size: int, n_heads: int, n_clusters: int):
        super().__init__()
        self.size = size
        self.register_buffer("ring", torch.zeros(size, n_heads, n_clusters))
        self.register_buffer("written", torch.tensor(0))

    @property
    def filled(self) -> int:
        return min(int(self.written), self.size)

    def add(self, predictions: Tensor) -> None:
        """(B, H, K): the oldest entries are overwritten."""
        if self.size == 0:
            return
        predictions = predictions[-self.size :]
        at = (int(self.written) + torch.arange(len(predictions), device=self.ring.device)) % self.size
        self.ring[at] = predictions
        self.written += len(predictions)

    def mean(self) -> Tensor | None:
        """(H, K), None while empty."""
        return self.ring[: self.filled].mean(0) if self.filled else None

    def share(self, batch: int) -> float:
        """The memory's part in the mean over memory and batch."""
        return self.filled / (self.filled + batch)
