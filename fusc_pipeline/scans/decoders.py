"""Decoders of DICOM's compressed pixel data: one pinned to each transfer syntax, so that a file gives the same bytes
wherever it is read. All have licences a company can ship. Fragments are `encapsulated`'s part, depth is `depth`'s.

| transfer syntax | decoder | library inside | licence |
|---|---|---|---|
| RLE | pylibjpeg-rle | its own, in Rust | MIT |
| JPEG baseline, extended (8, 12 bit), lossless (8 to 16 bit) | imagecodecs `jpeg8` | libjpeg-turbo 3 | BSD-3, IJG |
| JPEG-LS, lossless and near-lossless | imagecodecs `jpegls` | CharLS | BSD-3 |
| JPEG 2000, lossless and lossy; HTJ2K | imagecodecs `jpeg2k` | OpenJPEG | BSD-3, BSD-2 |

Not used: pylibjpeg-libjpeg (GPL-3); python-gdcm, whose wrapper breaks on any file called `dl` beside the program;
OpenJPH by imagecodecs, which gives a cut-short HTJ2K stream as a whole picture. Video (MPEG, HEVC) has no decoder.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from fusc_pipeline.scans.codestream import end_of_jpeg, read_codestream
from fusc_pipeline.scans.encapsulated import exact_run_lengths, run_length_segments
from fusc_pipeline.scans.frames import RejectedScan


class CutShort(ValueError):
    """The codestream ends before its picture does."""


@dataclass(frozen=True)
class Decoded:
    """values: (H, W) or (H, W, 3), unsigned, 8 or 16 bits; a signed sample is its two's complement in `bits` bits.

    bits: significant ones, as the codestream says, None where it does not. colours: what the three samples are, "RGB"
    or "YBR", None where nobody said so yet.
    """

    values: np.ndarray
    bits: int | None = None
    colours: str | None = None


def has_decoder(syntax: UID) -> bool:
    """Whether pixel data of this transfer syntax can be read, compressed or not."""
    return syntax in _DECODERS or (syntax.is_transfer_syntax and not syntax.is_private and not syntax.is_encapsulated)


def decode(syntax: UID, stream: bytes, size: tuple[int, int], colours: str | None = None) -> Decoded:
    """One frame's codestream. size: (rows, columns) that the header promises; colours: "RGB" or "YBR", what its three
    samples are where the codestream does not say so; None leaves them as they are stored.

    Raises CutShort, RejectedScan `damaged` for another size or `unsupported_pixels` for a number of samples or bits
    that is not read, or what the decoder raises on a damaged stream.
    """
    return _DECODERS[syntax](stream, size, colours)


def _rle(stream: bytes, size: tuple[int, int], colours: str | None) -> Decoded:
    from rle.utils import decode_frame

    segments = run_length_segments(stream)
    if segments not in (1, 2, 3, 6):
        raise RejectedScan("unsupported_pixels", f"run-length code of {segments} segments")
    area = size[0] * size[1]
    # The decoder fills up or cuts off what is not of the header's size, or panics.
    exact = exact_run_lengths(stream, area, size[1])
    if exact is None:
        raise RejectedScan("damaged", "run-length code of another size than the header says")
    samples = 3 if segments >= 3 else 1
    width = segments // samples
    planes = np.frombuffer(decode_frame(exact, area, 8 * width, "<"), f"<u{width}")
    planes = planes.reshape(samples, *size)
    return Decoded(planes[0] if samples == 1 else np.ascontiguousarray(np.moveaxis(planes, 0, -1)))


def _jpeg(stream: bytes, size: tuple[int, int], colours: str | None) -> Decoded:
    import imagecodecs

    # Encoders leave filling and stale bytes behind the end marker; without one, libjpeg would fill up with grey.
    end = end_of_jpeg(stream)
    if end is None:
        raise CutShort("no end of image")
    stream = stream[:end]
    header = read_codestream(stream)
    if header is None:
        raise ValueError("no JPEG codestream")
    if header.samples != 3:
        return _decoded(imagecodecs.jpeg8_decode(stream), size, header.bits)
    told = header.colours or colours
    if header.lossless or told is None:
        # As stored: a lossless codestream libjpeg does not convert, and who knows nothing of the colours must look.
        raw = imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
        return _decoded(raw, size, header.bits, header.colours)
    stored = "RGB" if told == "RGB" else "YCBCR"
    converted = imagecodecs.jpeg8_decode(stream, colorspace=stored, outcolorspace="RGB")
    return _decoded(converted, size, header.bits, "RGB")


def _jpeg_ls(stream: bytes, size: tuple[int, int], colours: str | None) -> Decoded:
    import imagecodecs

    end = end_of_jpeg(stream)
    if end is None:
        raise CutShort("no end of image")  # CharLS would look for seconds
    stream = stream[:end]
    header = read_codestream(stream)
    return _decoded(imagecodecs.jpegls_decode(stream), size, header.bits if header else None)


def _jpeg_2000(stream: bytes, size: tuple[int, int], colours: str | None) -> Decoded:
    import imagecodecs

    header = read_codestream(stream)
    values = imagecodecs.jpeg2k_decode(stream, numthreads=1)
    bits = header.bits if header else None
    if values.dtype.kind == "i" and bits is not None:
        values = values.view(f"u{values.dtype.itemsize}") & np.array((1 << bits) - 1, f"u{values.dtype.itemsize}")
    return _decoded(values, size, bits, header.colours if header else None)


def _decoded(values: np.ndarray, size: tuple[int, int], bits: int | None, colours: str | None = None) -> Decoded:
    values = values.reshape(*values.shape[:2], -1)
    if values.shape[:2] != size:
        raise RejectedScan("damaged", "decoded to another size than the header says")
    if values.shape[2] not in (1, 3) or values.dtype.kind != "u" or values.dtype.itemsize > 2:
        raise RejectedScan("unsupported_pixels", f"a codestream of {values.shape[2]} samples of {values.dtype}")
    return Decoded(values[..., 0] if values.shape[2] == 1 else values, bits, colours)


_DECODERS: dict[str, Callable[[bytes, tuple[int, int], str | None], Decoded]] = {
    RLELossless: _rle,
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), _jpeg),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), _jpeg_ls),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), _jpeg_2000),
}
