"""Linear cluster heads on a backbone, or on cached embeddings: the model FUSC trains. No loss or loop is here."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusc_pipeline.clustering.kmeans import KMeansClusterer


class ClusterModel(nn.Module):
    """Backbone, then H linear heads of K clusters each: inputs (B, …) → logits (B, H, K); (B, K) once a head is kept.

    `backbone` is any module giving (B, d); None where the inputs are cached embeddings. Features are L2-normalised and
    multiplied by √d (each coordinate then has a mean square of 1, as after standardising), so that one learning rate
    suits both kinds of input: a linear layer on them is the paper's linear layer up to that constant.
    """

    kept: Tensor

    def __init__(self, backbone: nn.Module | None, dim: int, n_clusters: int, n_heads: int = 1, seed: int = 0):
        super().__init__()
        self.backbone = backbone if backbone is not None else nn.Identity()
        self.dim, self.n_clusters, self.n_heads = dim, n_clusters, n_heads
        generator = torch.Generator().manual_seed(seed)
        bound = dim**-0.5  # torch's own bound for a linear layer
        weight = (torch.rand(n_heads, n_clusters, dim, generator=generator) * 2 - 1) * bound
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(n_heads, n_clusters))
        self.register_buffer("kept", torch.tensor(-1))

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.backbone(inputs)
        # In fp32 under autocast as well: a probability of 0.99 is decided by a few hundredths of a logit.
        with torch.autocast(features.device.type, enabled=False):
            features = F.normalize(features.float(), dim=1) * self.dim**0.5
            logits = F.linear(features, self.weight.flatten(0, 1), self.bias.flatten()).unflatten(1, self.bias.shape)
        return logits if self.kept < 0 else logits[:, self.kept]

    def keep_head(self, head: int) -> None:
        """From now on give this head's logits only, (B, K)."""
        self.kept.fill_(head)

    @torch.no_grad()
    def start_from_prototypes(self, centroids: Sequence[np.ndarray], sharpness: float = 10.0) -> None:
        """Set each head to soft assignment to its unit-vector centroids (K, d): logits = sharpness · (⟨f, c⟩ − ‖c‖²/2).

        For unit features f this is the squared distance to the centroid up to a constant, so the most probable cluster
        is the nearest centroid: training starts from the k-means partition.
        """
        found = torch.as_tensor(np.stack(centroids), dtype=torch.float32, device=self.weight.device)  # (H, K, d)
        self.weight.copy_(found * sharpness / self.dim**0.5)
        self.bias.copy_(-sharpness * found.square().sum(-1) / 2)


def kmeans_prototypes(embeddings: np.ndarray, n_clusters: int, n_heads: int, seed: int) -> list[np.ndarray]:
    """One k-means solution (single start, own seed) per head, so that several heads start from different partitions."""
    restarts = 1 if n_heads > 1 else 10
    fits = [KMeansClusterer(n_clusters, n_init=restarts, seed=seed + head).fit(embeddings) for head in range(n_heads)]
    return [fit.centroids_ for fit in fits]
