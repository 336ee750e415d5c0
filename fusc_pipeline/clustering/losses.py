"""The FUSC loss (equation 1) and the self-labelling loss, as pure functions of logits. Training loops are elsewhere."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class FuscLoss(NamedTuple):
    """Scalars: total = consistency − entropy_weight · entropy, both terms in nats."""

    total: Tensor
    consistency: Tensor
    entropy: Tensor


def fusc_loss(
    anchor_logits: Tensor,
    neighbour_logits: Tensor,
    entropy_weight: float = 5.0,
    memory_mean: Tensor | None = None,
    memory_share: float = 0.0,
) -> FuscLoss:
    """FUSC's loss, in fp32: mean over anchors and neighbours of −log⟨p, p'⟩, minus λ times the entropy of the mean p.

    anchor_logits (B, K), neighbour_logits (B, n, K). Equation 1 *sums* the consistency term over the neighbours of an
    anchor, with λ = 5 tuned (in SCAN, whose loss this is: Van Gansbeke et al. 2020) for one neighbour a step; read
    literally its weight on the entropy is n times smaller, and training collapses. With n neighbours,
    equation 1 per anchor = n · consistency − λ · entropy; here it is consistency − λ · entropy.

    ⟨p, p'⟩ is computed as logsumexp(log p + log p'), which neither under- nor overflows and needs no clamp.

    memory_mean (K,): mean prediction of recent batches, which small batches estimate badly (the entropy of a batch's
    mean is about (K−1)/2B nats too low). The entropy is then taken of the mix
    (1 − memory_share) · batch mean + memory_share · memory_mean, while the gradient reaches the batch as if it were all
    of it (straight-through): the memory steers *where* the gradient points, and does not weaken it.
    """
    log_p = F.log_softmax(anchor_logits.float(), dim=-1)
    log_q = F.log_softmax(neighbour_logits.float(), dim=-1)
    consistency = -torch.logsumexp(log_p.unsqueeze(1) + log_q, dim=-1).mean()
    # In the log domain to the end: a cluster that underflows to probability 0 would give the gradient 0 · ∞.
    log_mean = torch.logsumexp(log_p, dim=0) - math.log(len(log_p))
    if memory_mean is None or memory_share == 0:
        entropy = -(log_mean.exp() * log_mean).sum()
    else:
        log_batch, log_memory = log_mean.detach() + math.log1p(-memory_share), (memory_share * memory_mean).log()
        log_mix = torch.logaddexp(log_batch, log_memory)
        mean = log_mean.exp()
        slope = -(log_mix + 1)  # of the entropy, at the mix
        entropy = -(log_mix.exp() * log_mix).sum() + (slope * (mean - mean.detach())).sum()
    return FuscLoss(consistency - entropy_weight * entropy, consistency, entropy)


def confident_targets(weak_logits: Tensor, threshold: float = 0.99) -> tuple[Tensor, Tensor]:
    """(B, K) → mask (B,) of the samples whose most probable cluster is at least `threshold` probable, and that cluster
    (B,). No gradient flows back. The paper's equation has ≥, its code >."""
    best = weak_logits.detach().float().softmax(dim=1).max(dim=1)
    return best.values >= threshold, best.indices


def self_label_loss(strong_logits: Tensor, mask: Tensor, targets: Tensor, balanced: bool = True) -> Tensor:
    """Scalar: cross-entropy in fp32 of the masked samples' strong views (B, K) against their targets (B,), a mean.

    balanced: each cluster present among them weighs the same (weights n / count, weighted mean), as in the reference
    code; the paper says "cross-entropy loss only". NaN when the mask is empty: skip such a batch.
    """
    chosen = targets[mask]
    weights = None
    if balanced:
        counts = torch.bincount(chosen, minlength=strong_logits.shape[1])
        weights = torch.where(counts > 0, len(chosen) / counts.clamp(min=1), 1.0).to(torch.float32)
    return F.cross_entropy(strong_logits.float()[mask], chosen, weight=weights)
