"""ImageJ's stacks: a TIFF with one directory and several pictures behind each other, told by its description alone.

ImageJ manual, "TIFF": the description begins with "ImageJ=" and says "images=N"; samples are uncompressed.
"""

import os
import re
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from fusc_pipeline.scans import evidence
from fusc_pipeline.scans.frames import RejectedScan

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_DESCRIPTION, _OFFSETS, _SAMPLES, _PLANAR = 270, 273, 277, 284
_UNCOMPRESSED = 1


@dataclass(frozen=True)
class Stack:
    """Where the pictures lie. offset: of the first, in bytes; shape: (H, W) or (H, W, 3)."""

    offset: int
    frames: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def frame_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def read(self, stream: BinaryIO, index: int) -> np.ndarray:
        """One picture's stored values, unsigned, in native byte order."""
        stream.seek(self.offset + index * self.frame_bytes)
        values = np.frombuffer(stream.read(self.frame_bytes), self.dtype)
        return values.reshape(self.shape).astype(self.dtype.newbyteorder("="), copy=False)


def read_stack(image: Image.Image, stream: BinaryIO) -> Stack | None:
    """The stack that a TIFF of one directory is; None where it is none.

    Raises RejectedScan `truncated` for a file that ends within it, `damaged` where what lies behind the first picture
    is none.
    """
    tags = cast(TiffImageFile, image).tag_v2
    found = re.match(r"ImageJ=.*?^images=(\d{1,9})\s*$", str(tags.get(_DESCRIPTION, "")), re.DOTALL | re.MULTILINE)
    frames = int(found.group(1)) if found else 1
    samples, bits = tags.get(_SAMPLES, 1), set(tags.get(_BITS, (1,)))
    plain = tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED and tags.get(_PLANAR, 1) == 1
    offsets = tags.get(_OFFSETS, ())
    if frames < 2 or not plain or samples not in (1, 3) or bits not in ({8}, {16}) or not offsets:
        return None
    order = ">" if tags.prefix == b"MM" else "<"
    dtype = np.dtype(np.uint8 if bits == {8} else f"{order}u2")
    shape = (tags[_HEIGHT], tags[_WIDTH]) + ((3,) if samples == 3 else ())
    stack = Stack(offsets[0], frames, shape, dtype)
    end, size = stack.offset + frames * stack.frame_bytes, os.fstat(stream.fileno()).st_size
    if end > size:
        raise RejectedScan("truncated", f"a stack of {frames} pictures in a file that holds fewer")
    stream.seek(4)
    directory = int.from_bytes(stream.read(4), "big" if order == ">" else "little")
    if stack.offset < directory < end:
        return None  # The directory would be a part of a picture.
    usual = 2 * evidence.roughness(stack.read(stream, 0))
    if any(evidence.roughness(stack.read(stream, index)) > usual for index in range(1, frames)):
        raise RejectedScan("damaged", f"a stack of {frames} pictures, some of which are none")
    return stack
