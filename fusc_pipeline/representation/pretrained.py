"""Networks from a checkpoint on this machine: a DINOv2, a foundation model, an encoder of an earlier run.

Nothing is downloaded and no pickled code is run. What the networks are is `backbones`' part.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.representation.augment import MEAN, STD

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Where published checkpoints keep the network, outermost first: an average is preferred to what it averages.
_NESTED = ("teacher", "state_dict_ema", "model_ema", "state_dict", "model", "student")
_PREFIXES = ("_orig_mod.", "module.", "backbone.", "encoder.", "network.")  # the last is `RgbInput`'s


class RgbInput(nn.Module):
    """A network that was trained on colour photographs, for this package's standardised images.

    (B, 1 or 3, S, S) → three channels, standardised as the network knows them. mean, std: of its training, per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
    ):
        super().__init__()
        self.network, self.out_dim = network, network.out_dim
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images * STD + MEAN - self.mean) / self.std)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The network's state dict in a safetensors or torch file, without wrappers' prefixes ("module.", "backbone.", …).

    Raises BadInput for a file that is missing, is neither, or holds no tensors (torch files that need code to be
    loaded are refused).
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise BadInput(
            f"encoder.weights {path} is no readable checkpoint ({type(error).__name__}); give a .safetensors file, or "
            "a torch file that holds tensors only: torch.save(network.state_dict(), path)"
        ) from error
    while isinstance(found, Mapping) and (
        inside := next((k for k in _NESTED if isinstance(found.get(k), Mapping)), None)
    ):
        found = found[inside]
    state = {k: v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}
    for prefix in _PREFIXES:
        # A training checkpoint keeps its heads beside the backbone: only what is under the prefix is the network.
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)} or state
    if not state:
        raise BadInput(f"encoder.weights {path} holds no state dict; save the network's state_dict() itself")
    return state


def input_channels(state: Mapping[str, Tensor]) -> int:
    """Channels of the pictures the network of a state dict takes: 1 or 3. Raises BadInput when no layer takes either.

    Names are in no order that can be relied on (safetensors sorts them), and depthwise layers have one channel in any
    network: only the layer that sees the picture has three.
    """
    channels = {value.shape[1] for value in state.values() if value.ndim == 4}
    if not channels & {1, 3}:
        raise BadInput("the checkpoint of encoder.weights has no layer for pictures of one or three channels")
    return 3 if 3 in channels else 1
