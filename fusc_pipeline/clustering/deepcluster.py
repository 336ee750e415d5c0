"""DeepCluster (Caron et al. 2018, arXiv 1807.05520), DeepMCAT's method: cluster the features, train on the clusters.

Every epoch: features of all samples → PCA with whitening → L2 norm → k-means → a new top layer is trained on those
numbers, with as many samples of each cluster. Which network, and what a sample is, the caller decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.clustering.configs import DeepClusterConfig
from fusc_pipeline.clustering.kmeans import KMeansClusterer, l2_normalised, require_samples
from fusc_pipeline.clustering.predictions import predict_outputs
from fusc_pipeline.training.checkpoint import Checkpoint
from fusc_pipeline.training.loop import Schedule, train, trainable


@dataclass(frozen=True)
class DeepClusterResult:
    """`network`: the trained one, in eval mode; `space` and `clusterer`: fitted on its last features."""

    network: nn.Module
    space: "WhitenedSpace"
    clusterer: KMeansClusterer
    history: list[dict[str, Any]]

    def predict_proba(self, inputs: Callable[[Tensor], Tensor], n: int, compute: Compute) -> np.ndarray:
        """(n, K) float32 for the samples 0 to n−1 of plain `inputs`: soft k-means in the whitened space."""
        return self.clusterer.predict_proba(self.space.apply(features(self.network, inputs, n, compute)))


def fit_deepcluster(
    network: nn.Module,
    view: Callable[[Tensor, torch.Generator], Tensor],
    inputs: Callable[[Tensor], Tensor],
    n_samples: int,
    config: DeepClusterConfig,
    compute: Compute,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    checkpoint: Path | None = None,
    run_id: str = "",
) -> DeepClusterResult:
    """Train `network` (inputs → (B, d), its last activation left out) in place on samples 0 to n_samples−1.

    view(indices, generator): augmented inputs, trained on; inputs(indices): plain ones, clustered. The top layer sees
    the features through a ReLU, as in the authors' network. History entries add `filled` clusters, `agreement` (NMI
    with the assignment of the epoch before; 0 in the first) and `train_accuracy` on the cluster numbers.
    Raises BadSetting when there are fewer samples than clusters.
    """
    require_samples(n_samples, config.n_clusters)
    network = compute.place(network).train()
    optimizer = torch.optim.SGD(
        trainable(network), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    plan = Schedule(n_samples, config.epochs, config.batch_size, config.seed, lambda _: config.lr)
    state = _EpochState(n_samples, cast(int, network.out_dim), config.n_clusters).to(compute.device)

    def step(batch: Tensor, generator: torch.Generator) -> dict[str, Any]:
        epoch, at = divmod(int(state.steps), plan.steps_per_epoch)
        if at == 0:
            found = assign(features(network, inputs, n_samples, compute), config, config.seed + epoch)
            state.begin(*found, config.seed + epoch)
        rows = state.drawn[batch]
        with torch.random.fork_rng():  # dropout draws from torch's global generator
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
            with compute.autocast():
                outputs = network(compute.formatted(view(rows, generator)))
        logits = F.linear(F.relu(outputs.float()), state.weight, state.bias)
        targets = state.clusters[rows].to(logits.device)
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        top = torch.autograd.grad(loss, [state.weight, state.bias], retain_graph=True)
        loss.backward(inputs=trainable(network))
        optimizer.step()
        state.descend(top, config.lr, config.weight_decay)
        state.steps += 1
        return {"loss": loss, "train_accuracy": (logits.argmax(1) == targets).float().mean()}

    def of_the_epoch(_: dict[str, Any]) -> dict[str, Any]:
        return {"filled": int(state.clusters.unique().numel()), "agreement": float(state.agreement)}

    identity = digest(["deepcluster", config.model_dump(), n_samples, run_id])
    history = train(
        plan,
        step,
        optimizer,
        {"network": network, "epoch": state},
        end_epoch=of_the_epoch,
        on_epoch=on_epoch,
        checkpoint=Checkpoint(checkpoint, identity) if checkpoint else None,
    )
    last = features(network, inputs, n_samples, compute)
    space = WhitenedSpace.fit(last, config.pca_dim)
    clusterer = KMeansClusterer(config.n_clusters, max(config.restarts, 10), config.seed).fit(space.apply(last))
    return DeepClusterResult(network.eval(), space, clusterer, history)


def features(network: nn.Module, inputs: Callable[[Tensor], Tensor], n: int, compute: Compute) -> np.ndarray:
    """(n, d) float32 features of the samples 0 to n−1, in eval mode."""
    return predict_outputs(network, inputs, n, compute, batch=128).numpy()


@dataclass(frozen=True)
class WhitenedSpace:
    """mean (d,) and components (p, d) that centre, project and scale to unit variance, float32."""

    mean: np.ndarray
    components: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, dim: int) -> "WhitenedSpace":
        """PCA with whitening of (N, d) vectors to at most `dim` dimensions that vary at all."""
        pca = PCA(min(dim, *vectors.shape), svd_solver="full").fit(vectors)
        varies = pca.explained_variance_ > 1e-10 * max(float(pca.explained_variance_[0]), 1e-12)
        scale = np.sqrt(pca.explained_variance_[varies])[:, None]
        return cls(pca.mean_.astype(np.float32), (pca.components_[varies] / scale).astype(np.float32))

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """(M, d) → (M, p) whitened, then of length 1."""
        return l2_normalised((vectors - self.mean) @ self.components.T)


def assign(vectors: np.ndarray, config: DeepClusterConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster numbers (N,) of (N, d) features, and the samples (N,) to train on in this epoch.

    As many of each filled cluster, drawn with replacement where it has too few (the authors' uniform sampler).
    """
    space = WhitenedSpace.fit(vectors, config.pca_dim)
    unit = space.apply(vectors)
    clusters = KMeansClusterer(config.n_clusters, config.restarts, seed).fit(unit).predict(unit)
    return clusters, uniform_samples(clusters, seed)


def uniform_samples(clusters: np.ndarray, seed: int) -> np.ndarray:
    """(N,) cluster numbers → N sample indices, shuffled: N/filled + 1 of each filled cluster, cut to N."""
    rng = np.random.default_rng(seed)
    filled = np.unique(clusters)
    each = len(clusters) // len(filled) + 1
    drawn = []
    for cluster in filled:
        members = np.flatnonzero(clusters == cluster)
        drawn.append(rng.choice(members, each, replace=len(members) < each))
    return rng.permutation(np.concatenate(drawn))[: len(clusters)]


class _EpochState(nn.Module):
    """What holds for one epoch: the assignment, the samples drawn, the top layer; saved with the network."""

    steps: Tensor
    clusters: Tensor
    drawn: Tensor
    agreement: Tensor

    def __init__(self, n: int, dim: int, n_clusters: int):
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("clusters", torch.zeros(n, dtype=torch.int64))
        self.register_buffer("drawn", torch.zeros(n, dtype=torch.int64))
        self.register_buffer("agreement", torch.tensor(0.0))
        self.weight = nn.Parameter(torch.zeros(n_clusters, dim))
        self.bias = nn.Parameter(torch.zeros(n_clusters))

    @torch.no_grad()
    def begin(self, clusters: np.ndarray, drawn: np.ndarray, seed: int) -> None:
        """A new assignment and a new top layer, N(0, 0.01) and zero."""
        if int(self.steps) > 0:
            self.agreement.fill_(float(normalized_mutual_info_score(self.clusters.cpu().numpy(), clusters)))
        self.clusters.copy_(torch.from_numpy(clusters))
        self.drawn.copy_(torch.from_numpy(drawn))
        self.weight.copy_(torch.randn(self.weight.shape, generator=torch.Generator().manual_seed(seed)) * 0.01)
        self.bias.zero_()

    @torch.no_grad()
    def descend(self, gradients: tuple[Tensor, ...], lr: float, weight_decay: float) -> None:
        """One step of plain SGD on the top layer."""
        for parameter, gradient in zip((self.weight, self.bias), gradients, strict=True):
            parameter.sub_(lr * (gradient + weight_decay * parameter))
