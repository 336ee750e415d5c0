"""Reading a file of any supported format: decided by its first bytes, never by its name. One frame in memory at a time.

The formats themselves are in `dicom` and `raster`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from fusc_pipeline.scans import dicom, header, raster
from fusc_pipeline.scans.frames import REASONS, Box, Frame, ReadLimits, RejectedScan

__all__ = ["REASONS", "Box", "Frame", "ReadLimits", "RejectedScan", "read_scan", "sniff"]

_MAGIC_BYTES = 132


def sniff(path: Path) -> str | None:
    """dicom, png, jpeg or tiff by the file's first bytes, else None. A preamble may hold anything: "DICM" wins."""
    with open(path, "rb") as stream:
        head = stream.read(_MAGIC_BYTES)
    if header.begins_dicom(head):
        return "dicom"
    return next((name for name, magics in raster.MAGICS.items() if head.startswith(magics)), None)


def read_scan(path: Path, limits: ReadLimits | None = None) -> Iterator[Frame]:
    """The frames chosen from a file (all, or `frames_per_clip` evenly spaced), in order.

    Raises RejectedScan, also after some frames were given when a later one cannot be decoded.
    """
    limits = limits or ReadLimits()
    try:
        size = os.stat(path).st_size
        if size == 0:
            raise RejectedScan("empty")
        if size > limits.max_file_bytes:
            raise RejectedScan("too_large", f"{size} bytes, more than {limits.max_file_bytes}")
        kind = sniff(path)
        if kind is None:
            with open(path, "rb") as stream:
                bare = header.resembles_dicom(stream.read(_MAGIC_BYTES))
            raise RejectedScan("no_dicom_head" if bare else "not_an_image")
        yield from dicom.read_dicom(path, limits) if kind == "dicom" else raster.read_raster(path, kind, limits)
    except OSError as error:
        # The message of an OSError quotes the path, and paths name patients.
        raise RejectedScan("unreadable", type(error).__name__) from None
