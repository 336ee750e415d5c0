"""Cluster probabilities of many samples from a trained model, in batches, without gradients."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fusc_pipeline.compute import Compute


@torch.no_grad()
def predict_probabilities(
    model: nn.Module, inputs: Callable[[Tensor], Tensor], n: int, compute: Compute, batch: int = 256
) -> np.ndarray:
    """(n, K) float32, rows sum to 1: softmax of `model(inputs(indices))` for the samples 0 to n−1.

    `inputs` gives plain (not augmented) model inputs on the device. The model is in eval mode here and left in the
    mode it was in. The cluster is the row's argmax, its confidence the row's maximum.
    """
    was_training = model.training
    model.eval()
    rows = []
    for start in range(0, n, batch):
        samples = compute.formatted(inputs(torch.arange(start, min(start + batch, n))))
        with compute.autocast():
            logits = model(samples)
        rows.append(logits.float().softmax(-1).cpu())
    model.train(was_training)
    return torch.cat(rows).numpy()
