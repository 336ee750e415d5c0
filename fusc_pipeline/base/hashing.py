"""Content identities: of an image, of a file, of a configuration."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def image_id(pixels: "np.ndarray") -> str:
    """SHA-256 (hex) of decoded pixels and their shape: a re-delivered frame is the same frame, a changed pixel another.

    `pixels` is uint8, (H, W) for grey or (H, W, 3) for RGB. A colour image whose three channels are equal must be
    passed as grey, so that the same picture has one identity whatever file it came in.
    """
    if pixels.dtype.name != "uint8" or pixels.ndim not in (2, 3):
        raise ValueError(f"image_id takes uint8 pixels (H, W) or (H, W, 3), got {pixels.dtype} {pixels.shape}")
    digest = hashlib.sha256("x".join(map(str, pixels.shape)).encode() + b"|")
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def sha256_file(path: Path, chunk: int = 1 << 20) -> str:
    """SHA-256 (hex) of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(chunk):
            digest.update(block)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value's canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
