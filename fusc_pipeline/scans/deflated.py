"""Deflated DICOM: its data set inflated in memory, but never beyond a cap. Reading what comes out is `dicom`'s part."""

import io
import zlib
from typing import BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian

from fusc_pipeline.scans.frames import RejectedScan

_META = 132  # after the preamble and "DICM"
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_STEP = 1 << 24


def inflated(stream: BinaryIO, cap: int) -> BinaryIO:
    """The same data set as explicit little endian, in memory.

    cap: bytes the data set may have; half a megabyte can be made to hold half a gigabyte. Raises RejectedScan
    `too_large` beyond it, `truncated` when the deflated stream has no end, `damaged` when it is none.
    """
    stream.seek(_META)
    group = stream.read(12)
    if group[:8] != _GROUP_LENGTH:
        raise RejectedScan("damaged", "no length of the file meta information")
    stream.seek(_META + 12 + int.from_bytes(group[8:12], "little"))
    result = io.BytesIO()
    result.write(bytes(128) + b"DICM")
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    write_file_meta_info(DicomFileLike(result), meta, enforce_standard=False)
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while not inflate.eof:
            piece = inflate.decompress(inflate.unconsumed_tail or stream.read(_STEP), _STEP)
            if not piece and not inflate.unconsumed_tail and not inflate.eof:
                raise RejectedScan("truncated", "the deflated data set has no end")
            size += len(piece)
            if size > cap:
                raise RejectedScan("too_large", f"a deflated data set of more than {cap} bytes")
            result.write(piece)
    except zlib.error:
        raise RejectedScan("damaged", "the deflated data set cannot be inflated") from None
    result.seek(0)
    return result
