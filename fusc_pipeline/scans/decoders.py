"""Decoders of DICOM's compressed pixel data: one pinned to each transfer syntax, so that a file gives the same bytes
wherever it is read. All have licences a company can ship. Fragments and header claims are `encapsulated` and `dicom`.

| transfer syntax | decoder | library inside | licence |
|---|---|---|---|
| uncompressed, deflated | pydicom | zlib | MIT, zlib |
| RLE | pylibjpeg-rle | its own, in Rust | MIT |
| JPEG baseline, extended (8, 12 bit), lossless (8 to 16 bit) | imagecodecs `jpeg8` | libjpeg-turbo 3 | BSD-3, IJG |
| JPEG-LS, lossless and near-lossless | imagecodecs `jpegls` | CharLS | BSD-3 |
| JPEG 2000, lossless and lossy; HTJ2K | imagecodecs `jpeg2k` | OpenJPEG | BSD-3, BSD-2 |

Not used: pylibjpeg-libjpeg (GPL-3); python-gdcm, whose wrapper breaks on any file called `dl` beside the program;
OpenJPH by imagecodecs, which gives a cut-short HTJ2K stream as a whole picture. Video (MPEG, HEVC) has no decoder.
"""

import io
from collections.abc import Callable

import numpy as np
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner
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

from fusc_pipeline.scans.encapsulated import Fragment, jpeg_header

PLUGIN = "fusc"
"""The name under which the decoders are known to pydicom; pass it as `decoding_plugin`."""

_END_OF_IMAGE = b"\xff\xd9"
_LOSSLESS_SOF = 0xC3
_STORED = "fusc_stored_colours"


class CutShort(ValueError):
    """The codestream ends before its picture does."""


def is_available(syntax: str) -> bool:
    """Whether `decode` knows the transfer syntax. Asked by pydicom."""
    return syntax in _DECODERS


def has_decoder(syntax: UID) -> bool:
    """Whether pixel data of this transfer syntax can be read, compressed or not."""
    return syntax in _DECODERS or (syntax.is_transfer_syntax and not syntax.is_private and not syntax.is_encapsulated)


def decode(stream: bytes, runner: DecodeRunner) -> bytes | bytearray:
    """One frame's codestream to the bytes pydicom goes on with; the runner is told what they hold. Called by pydicom.

    Raises CutShort, or what the decoder raises on a damaged stream.
    """
    return _DECODERS[runner.transfer_syntax](stream, runner)


def _rle(stream: bytes, runner: DecodeRunner) -> bytes:
    from rle.utils import decode_frame

    decoded = decode_frame(stream, runner.rows * runner.columns, runner.bits_allocated, "<")
    runner.set_option("planar_configuration", 1)
    return decoded


def _check_end(stream: bytes) -> None:
    """CutShort for a stream with no end marker: libjpeg would fill the rest with grey, CharLS look for seconds."""
    if not stream.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise CutShort("no end of image")


def _jpeg(stream: bytes, runner: DecodeRunner) -> bytes:
    import imagecodecs

    _check_end(stream)
    header = jpeg_header(io.BytesIO(stream), Fragment(0, len(stream)))
    if header is None:
        raise ValueError("no JPEG codestream")
    if runner.samples_per_pixel == 1:
        return _as_stored(imagecodecs.jpeg8_decode(stream), runner)
    stored = runner.get_option(_STORED)
    if stored is None:
        # For the first frame of a clip only: the others see the "RGB" that is set below.
        stored = "YCBCR" if str(runner.photometric_interpretation).startswith("YBR") else "RGB"
        runner.set_option(_STORED, stored)
    if header.adobe is not None or header.subsampled:
        # What the codestream says of its colours goes before the DICOM header, which is often left wrong.
        stored = "RGB" if header.adobe == 0 else "YCBCR"
    # A lossless codestream is not converted by libjpeg, but by pydicom.
    converted = stored if header.sof == _LOSSLESS_SOF else "RGB"
    runner.set_option("photometric_interpretation", "RGB" if converted == "RGB" else "YBR_FULL")
    return _as_stored(imagecodecs.jpeg8_decode(stream, colorspace=stored, outcolorspace=converted), runner)


def _jpeg_ls(stream: bytes, runner: DecodeRunner) -> bytes:
    import imagecodecs

    _check_end(stream)
    return _as_stored(imagecodecs.jpegls_decode(stream), runner)


def _jpeg_2000(stream: bytes, runner: DecodeRunner) -> bytes:
    import imagecodecs

    decoded = imagecodecs.jpeg2k_decode(stream, numthreads=1)
    if str(runner.photometric_interpretation) in ("YBR_ICT", "YBR_RCT"):
        runner.set_option("photometric_interpretation", "RGB")
    return _as_stored(decoded, runner)


def _as_stored(decoded: np.ndarray, runner: DecodeRunner) -> bytes:
    """The bytes of a decoded frame, of the container that the codestream, not the header, asks for."""
    shape = (runner.rows, runner.columns, runner.samples_per_pixel)
    if decoded.reshape(*decoded.shape[:2], -1).shape != shape or decoded.dtype.itemsize > 2:
        raise ValueError("decoded to another size or depth than the header says")
    runner.set_option("bits_allocated", 8 * decoded.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return decoded.tobytes()


_DECODERS: dict[str, Callable[[bytes, DecodeRunner], bytes | bytearray]] = {
    RLELossless: _rle,
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), _jpeg),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), _jpeg_ls),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), _jpeg_2000),
}
DECODER_DEPENDENCIES = dict.fromkeys(_DECODERS, ("numpy", "imagecodecs", "pylibjpeg-rle"))
"""Read by pydicom."""

for _syntax in _DECODERS:
    if PLUGIN not in get_decoder(_syntax).available_plugins:
        get_decoder(_syntax).add_plugin(PLUGIN, (__name__, "decode"))
