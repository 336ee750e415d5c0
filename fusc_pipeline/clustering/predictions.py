"""What a trained model says of many samples, in batches, without gradients: outputs, or cluster probabilities."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fusc_pipeline.base.compute import Compute


@torch.no_grad()
def predict_outputs(
    model: nn.Module, inputs: Callable[[Tensor], Tensor], n: int, compute: Compute, batch: int = 256
) -> Tensor:
    """(n, …) float32 on the CPU: `model(inputs(indices))` for the samples 0 to n−1.

    `inputs` gives plain (not augmented) model inputs on the device. The model is in eval mode here and left in the
    mode it was in.
    """
    was_training = model.training
    model.eval()
    rows = []
    for start in range(0, n, batch):
        samples = compute.formatted(inputs(torch.arange(start, min(start + batch, n))))
        with compute.autocast():
            outputs = model(samples)
        rows.append(outputs.float().cpu())
    model.train(was_training)
    return torch.cat(rows)


def predict_probabilities(
    model: nn.Module, inputs: Callable[[Tensor], Tensor], n: int, compute: Compute, batch: int = 256
) -> np.ndarray:
    """(n, K) float32, rows sum to 1: softmax of `predict_outputs`. The cluster is the row's argmax."""
    return predict_outputs(model, inputs, n, compute, batch).softmax(-1).numpy()
