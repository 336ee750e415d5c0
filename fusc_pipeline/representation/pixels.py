"""The decode-once pixel cache: every image of a corpus as one uint8 memory map (N, S, S), written whole or not at all.

Training reads this; nothing decodes a PNG twice. Colour images become grey. Batches for the device are `PixelBatches`.
"""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
import torch

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.host.atomic import whole_folder

Resize = Literal["letterbox", "squash"]


def resize_mode(name: str) -> Resize:
    """The way of resizing of this name; raises BadSetting for another."""
    for mode in get_args(Resize):
        if name == mode:
            return mode
    raise BadSetting(f"resize is {name!r}; choose one of {', '.join(get_args(Resize))}")


_PIXELS, _INDEX = "pixels.u8", "index.json"


@dataclass(frozen=True)
class PixelCache:
    """`pixels[i]` (uint8, S×S, read-only memory map) is the image with identity `ids[i]`."""

    ids: list[str]
    pixels: np.ndarray
    resize: str

    @classmethod
    def open(cls, folder: Path) -> "PixelCache":
        """Open a cache that `build_pixel_cache` wrote; BadInput when it is not there, or not whole."""
        folder = Path(folder)
        try:
            index = json.loads((folder / _INDEX).read_text())
            shape = (len(index["ids"]), index["size"], index["size"])
            found, crc = (folder / _PIXELS).stat().st_size, index["crc32"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{folder} holds no readable pixel cache ({error}); delete the folder and build it again"
            ) from error
        if found != np.prod(shape, dtype=np.int64):
            raise BadInput(
                f"{folder / _PIXELS} has {found} bytes where {shape} needs another number; build the cache again"
            )
        pixels = np.memmap(folder / _PIXELS, np.uint8, "r", shape=shape)
        if zlib.crc32(pixels.data) != crc:
            raise BadInput(f"{folder / _PIXELS} holds other pixels than were written; build the cache again")
        return cls(index["ids"], pixels, index["resize"])


def build_pixel_cache(
    images: Iterable[tuple[str, bytes]], n: int, size: int, folder: Path, resize: Resize = "letterbox"
) -> PixelCache:
    """Decode `n` (image_id, PNG or JPEG bytes) pairs into `folder`, replacing what is there in one rename.

    size: side S in pixels, 16 to 1024. "letterbox" keeps the aspect ratio and pads with zeros, centred; "squash" does
    not keep it (what the reference code does). Shrinking averages over areas, so fine speckle does not alias.
    Raises BadInput for an image that cannot be decoded, an identity given twice, or a number of images other than `n`.
    """
    if not 16 <= size <= 1024:
        raise BadSetting(f"image size is {size}; it must be from 16 to 1024 pixels")
    if n < 1:
        raise BadInput("there is no image to cache; the corpus is empty, add a batch of scans first")
    if resize not in ("letterbox", "squash"):
        raise BadSetting(f"resize is {resize!r}; choose letterbox or squash")
    folder = Path(folder)
    with whole_folder(folder) as building:
        pixels = np.memmap(building / _PIXELS, np.uint8, "w+", shape=(n, size, size))
        ids: list[str] = []
        for image_id, encoded in images:
            if len(ids) == n:
                raise BadInput(f"more than the {n} images announced were given, the next is {image_id}")
            pixels[len(ids)] = resized(_decode(image_id, encoded), size, resize)
            ids.append(image_id)
        if len(ids) != n:
            raise BadInput(f"{n} images were announced, {len(ids)} were given")
        if len(set(ids)) != n:
            raise BadInput("an image_id is given twice; drop duplicates before caching")
        pixels.flush()
        index = {"ids": ids, "size": size, "resize": resize, "crc32": zlib.crc32(pixels.data)}
        del pixels
        (building / _INDEX).write_text(json.dumps(index))
    return PixelCache.open(folder)


def resized(grey: np.ndarray, size: int, resize: Resize = "letterbox") -> np.ndarray:
    """(H, W) uint8 → (size, size) uint8, area-averaged when shrinking, bilinear when enlarging."""
    height, width = grey.shape
    if resize == "squash":
        new_h = new_w = size
    else:
        scale = size / max(height, width)
        new_h, new_w = max(1, round(height * scale)), max(1, round(width * scale))
    shrinking = new_h <= height and new_w <= width
    # OpenCV's INTER_AREA averages only when shrinking in both directions.
    small = cv2.resize(grey, (new_w, new_h), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    canvas = np.zeros((size, size), np.uint8)
    top, left = (size - new_h) // 2, (size - new_w) // 2
    canvas[top : top + new_h, left : left + new_w] = small
    return canvas


def channels_of(pixels: np.ndarray) -> int:
    """1 for a grey pixel array (N, S, S), 3 for one in colour (N, S, S, 3)."""
    return 1 if pixels.ndim == 3 else pixels.shape[3]


class PixelBatches:
    """Rows of a pixel array as uint8 tensors (B, S, S) on the device; a GPU with ample room keeps them all."""

    def __init__(self, pixels: np.ndarray, compute: Compute):
        self.compute = compute
        self._resident: torch.Tensor | None = None
        self._pixels = pixels
        if compute.device == "cuda" and pixels.nbytes < torch.cuda.mem_get_info()[0] // 2:
            self._resident = torch.from_numpy(np.ascontiguousarray(pixels)).to("cuda")

    def __len__(self) -> int:
        return len(self._pixels)

    def __call__(self, indices: torch.Tensor) -> torch.Tensor:
        """(B,) int64 → (B, S, S) uint8."""
        if self._resident is not None:
            return self._resident[indices.to(self._resident.device)]
        return torch.from_numpy(self._pixels[indices.cpu().numpy()]).to(self.compute.device)


def _decode(image_id: str, encoded: bytes) -> np.ndarray:
    buffer = np.frombuffer(encoded, np.uint8)
    grey = cv2.imdecode(buffer, cv2.IMREAD_GRAYSCALE) if buffer.size else None
    if grey is None:
        raise BadInput(f"image {image_id} cannot be decoded; clean its batch again")
    return grey
