"""Frames as lossless PNG bytes and back."""

import struct
import zlib
from typing import Any, cast

import cv2
import imagecodecs
import numpy as np

from fusc_pipeline.base.errors import BadInput

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 3: 2}  # by channels: grey, RGB
_SUB = 1
# libdeflate at this level takes half the time of OpenCV's fastest PNG, for nine tenths of its size.
_LEVEL = 1


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless PNG of uint8 grey (H, W) or RGB (H, W, 3), all rows with filter Sub; ValueError for other arrays."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in _COLOUR_TYPE or not pixels.size:
        raise ValueError(f"{pixels.dtype} {pixels.shape} is no grey or RGB picture of bytes")
    height, width = pixels.shape[:2]
    lines = np.empty((height, 1 + width * channels), np.uint8)
    lines[:, 0] = _SUB
    flat = pixels.reshape(height, width * channels)
    lines[:, 1 : 1 + channels] = flat[:, :channels]
    np.subtract(flat[:, channels:], flat[:, :-channels], out=lines[:, 1 + channels :])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    data = bytes(imagecodecs.deflate_encode(cast(Any, lines), level=_LEVEL))  # an array is taken as it is
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))))


def decode_png(data: bytes) -> np.ndarray:
    """The pixels of `encode_png`: uint8, (H, W) grey or (H, W, 3) RGB."""
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if stored is None or stored.dtype != np.uint8:
        raise BadInput("the PNG of a scan cannot be decoded: the table is damaged, ingest its batch again")
    return stored if stored.ndim == 2 else cv2.cvtColor(stored[:, :, :3], cv2.COLOR_BGR2RGB)
