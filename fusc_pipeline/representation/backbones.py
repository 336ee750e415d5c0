"""Networks that turn an image into a vector, by name, and the embedding of a whole pixel array. No training here.

Any of timm's networks goes by its timm name; another one is one entry of BACKBONES.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.representation.augment import plain_view
from fusc_pipeline.representation.imagenet import IMAGENET, MEAN, NETWORK, STD, imagenet_state
from fusc_pipeline.representation.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    RgbInput,
    input_channels,
    read_checkpoint,
)


def _resnet18(in_channels: int, first_stride: int | None = None, last_stride: int = 2) -> nn.Module:
    """ResNet18 (He et al. 2016) from scratch, pooled 512-d features. first_stride: small first layers (3 x 3, this
    stride, no pooling) for images of about 32 pixels, where the usual ones (None) leave nothing to pool. last_stride:
    1 leaves the last block's map at a sixteenth of the image's side, where the usual 2 shrinks it to a thirty-second.
    """
    from torchvision.models import resnet18

    network = resnet18(weights=None)
    side, stride = (7, 2) if first_stride is None else (3, first_stride)
    network.conv1 = nn.Conv2d(in_channels, 64, side, stride, padding=side // 2, bias=False)
    if first_stride is not None:
        network.maxpool = nn.Identity()
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    for convolution in (network.layer4[0].conv1, network.layer4[0].downsample[0]):
        convolution.stride = (last_stride, last_stride)
    network.fc = nn.Identity()
    network.out_dim = 512
    return network


def _vgg16(in_channels: int, pool: int = 7, width: int = 4096) -> nn.Module:
    """VGG16 with batch norm and two fully connected layers, without the last ReLU (DeepCluster's features)."""
    from torchvision.models import vgg16_bn

    trunk = vgg16_bn(weights=None).features
    trunk[0] = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1)
    nn.init.kaiming_normal_(trunk[0].weight, mode="fan_out", nonlinearity="relu")
    network = nn.Sequential(
        trunk, nn.AdaptiveAvgPool2d(pool), nn.Flatten(), nn.Linear(512 * pool * pool, width), nn.ReLU(inplace=True),
        nn.Dropout(0.5), nn.Linear(width, width),
    )  # fmt: skip
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.zeros_(layer.bias)
    cast(Any, network).out_dim = width
    return network


BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "resnet18": _resnet18,
    "resnet18_small": lambda in_channels: _resnet18(in_channels, first_stride=1),  # the usual one for CIFAR
    "resnet18_medium": lambda in_channels: _resnet18(in_channels, first_stride=2),  # four times as fast
    # A 7 x 7 map of 112 pixels for Grad-CAM, in half the time of resnet18_medium, which gives one too.
    "resnet18_fine": lambda in_channels: _resnet18(in_channels, last_stride=1),
    "vgg16_bn": _vgg16,
    # For images of 64 to 96 pixels, whose feature maps are 2 or 3 pixels wide.
    "vgg16_bn_small": lambda in_channels: _vgg16(in_channels, pool=2, width=1024),
}


def build_backbone(
    name: str = "resnet18", in_channels: int = 1, seed: int = 0, drop_path: float = 0.0, weights: str = ""
) -> nn.Module:
    """A network with `.out_dim`: (B, in_channels, S, S) → (B, out_dim), random or from a checkpoint. Grey: one channel.

    name: of BACKBONES or of timm's. drop_path: stochastic depth while training, for timm's networks that have it.
    weights: a file (see `pretrained.read_checkpoint`), "imagenet" (see `imagenet`), "" for none; a network of colour
    photographs then takes images through `pretrained.RgbInput`. Raises BadSetting on unknown names and on weights that
    cannot be had, BadInput on a file of another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not weights:
            return _random(name, in_channels, drop_path)
        state = imagenet_state(name) if weights == IMAGENET else read_checkpoint(weights)
        channels = input_channels(state)
        try:
            network = _random(name, channels, drop_path, state)
        except (RuntimeError, KeyError) as error:
            raise BadInput(
                f"encoder.weights {weights} is not of the network {name!r} ({' '.join(str(error).split())[:300]}); "
                "name the network it was trained as in encoder.name"
            ) from error
    if channels == 1:
        return network
    if weights == IMAGENET and name == NETWORK:
        return RgbInput(network, MEAN, STD)
    known = getattr(network, "pretrained_cfg", {})
    return RgbInput(network, known.get("mean", IMAGENET_MEAN), known.get("std", IMAGENET_STD))


def restore_backbone(name: str, state: dict[str, Tensor]) -> nn.Module:
    """The network of `build_backbone` that `state` was taken from."""
    network = _random(name, input_channels(state), 0.0)
    if all(key in state for key in ("mean", "std")):
        network = RgbInput(network)
    network.load_state_dict(state)
    return network


def patch_side(network: nn.Module) -> int | None:
    """Side of a vision transformer's patches in pixels, which an image's side must be a multiple of; else None."""
    inner = network.network if isinstance(network, RgbInput) else network
    patches = getattr(inner, "patch_embed", None)
    size = getattr(patches, "patch_size", None)
    return size[0] if size else None


def check_side(network: nn.Module, name: str, side: int) -> None:
    """Raise BadSetting when images of this side do not divide into the network's patches."""
    patch = patch_side(network)
    if patch and side % patch:
        near = max(patch, round(side / patch) * patch)
        raise BadSetting(f"image_size is {side}, but {name} cuts images into patches of {patch}; take {near}")


def _random(name: str, in_channels: int, drop_path: float, state: dict[str, Tensor] | None = None) -> nn.Module:
    """The network, its weights those of `state` where one is given."""
    if name not in BACKBONES:
        return _from_timm(name, in_channels, drop_path, state)
    network = BACKBONES[name](in_channels)
    if state is not None:
        network.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")})
    return network


def _from_timm(name: str, in_channels: int, drop_path: float, state: dict[str, Tensor] | None) -> nn.Module:
    """A network of timm's without its classifier; a vision transformer takes images of any side (a multiple of its
    patches) and gives its class token after the final norm."""
    import timm

    if not timm.is_model(name):
        raise BadSetting(
            f"backbone {name!r} is not known; choose {', '.join(BACKBONES)} or one of timm's (timm.list_models())"
        )
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    if name.startswith("vit_"):
        options |= {"dynamic_img_size": True}
    if state is not None:
        known = timm.get_pretrained_cfg(name)
        classifier = known.classifier if known and known.classifier else "head"
        heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
        state = {key: value for key, value in state.items() if not key.startswith(heads)}
        # "Trained on no classes": timm then renames and resizes as for its own files, and insists on every layer.
        side = known.input_size[-1] if known and known.input_size else 224
        overlay = {"state_dict": state, "num_classes": 0, "input_size": (in_channels, side, side)}
        options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
    network = timm.create_model(name, num_classes=0, in_chans=in_channels, **options)
    network.out_dim = network.num_features
    return network


def width_of(network: nn.Module) -> int:
    """How long the vectors are that a backbone gives: its `out_dim`."""
    return cast(int, network.out_dim)


@torch.inference_mode()
def embed(backbone: nn.Module, pixels: np.ndarray, compute: Compute, batch: int = 256) -> np.ndarray:
    """(N, S, S) uint8 → (N, out_dim) float32 L2-normalised features, the network in eval mode (and left so)."""
    backbone = compute.place(backbone).eval()
    view = plain_view(pixels, compute)
    out = np.empty((len(pixels), width_of(backbone)), np.float32)
    for start in range(0, len(pixels), batch):
        rows = torch.arange(start, min(start + batch, len(pixels)))
        with compute.autocast():
            features = backbone(compute.formatted(view(rows)))
        out[start : start + len(rows)] = F.normalize(features.float(), dim=1).cpu().numpy()
    return out
