"""PNG, JPEG and TIFF (also with several pages), decoded by Pillow, which refuses cut-short files. No DICOM here."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fusc_pipeline.scans.frames import Frame, ReadLimits, RejectedScan, as_grey_if_equal, quiet, to_eight_bits

# Format -> the first bytes that name it.
MAGICS: dict[str, tuple[bytes, ...]] = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "tiff": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
}

# What Pillow raises on damaged or hostile files; its messages may quote the file and are never passed on.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    EOFError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
_EIGHT_BIT_MODES = {"L", "RGB"}
_CONVERTED_MODES = {"1": "L", "YCbCr": "RGB", "CMYK": "RGB", "P": "RGB", "HSV": "RGB", "LAB": "RGB"}
_ALPHA_MODES = {"LA", "RGBA", "PA", "La", "RGBa", "RGBX"}
_DEEP_MODES = {"I;16", "I;16B", "I;16L", "I;16N", "I"}


def read_raster(path: Path, kind: str, limits: ReadLimits) -> Iterator[Frame]:
    """Frames of a PNG, JPEG or TIFF; only a TIFF may have more than one. Raises RejectedScan.

    The size is checked from the header before a pixel is decoded. 16-bit grey is brought to 8 bits by the smallest of
    8, 10, 12 or 16 bits that holds its brightest pixel; alpha is laid over black; EXIF orientation is ignored, since
    a frame grabber writes none.
    """
    done = 0
    try:
        with quiet():
            image = Image.open(path, formats=[kind.upper()])
        with image:
            with quiet():
                _check_size(image, limits)
                n_frames = _page_count(image, limits) if kind == "tiff" else 1
            for index in limits.choose_frames(n_frames):
                with quiet():
                    if kind == "tiff":
                        image.seek(index)
                        _check_size(image, limits)
                    pixels = as_grey_if_equal(_to_uint8(image))
                yield Frame(pixels, index, n_frames, kind)
                done += 1
    except RejectedScan:
        raise
    except Image.DecompressionBombError:
        raise RejectedScan("too_many_pixels", f"a {kind} that claims more pixels than any limit") from None
    except MemoryError:
        raise RejectedScan("too_much_memory") from None
    except _DECODE_ERRORS as error:
        reason = "truncated" if _says_truncated(error) else "damaged"
        raise RejectedScan(reason, f"{kind} frame {done} could not be decoded ({type(error).__name__})") from None


def _check_size(image: Image.Image, limits: ReadLimits) -> None:
    depth = 4 if image.mode in _DEEP_MODES | {"F"} else 1
    limits.check_frame(image.height, image.width, depth * len(image.getbands()))


def _page_count(image: Image.Image, limits: ReadLimits) -> int:
    """Pages of a TIFF by stepping through them: stops at the limit, so that an endless chain costs nothing more."""
    count = 1
    while True:
        try:
            image.seek(count)
        except EOFError:
            break
        count += 1
        if count > limits.max_frames:
            raise RejectedScan("too_many_pixels", f"more than {limits.max_frames} pages")
    image.seek(0)
    return count


def _to_uint8(image: Image.Image) -> np.ndarray:
    mode = image.mode
    if mode in _DEEP_MODES:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise RejectedScan("unsupported_pixels", "grey values outside 0 to 65535")
        return to_eight_bits(values, next(bits for bits in (8, 10, 12, 16) if values.max() < 1 << bits))
    if mode == "P" and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    if mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB"))
    if mode in _EIGHT_BIT_MODES:
        return np.asarray(image)
    if mode in _CONVERTED_MODES:
        return np.asarray(image.convert(_CONVERTED_MODES[mode]))
    raise RejectedScan("unsupported_pixels", "floating point or another uncommon pixel type")


def _says_truncated(error: BaseException) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("truncat", "unrecognized data stream", "broken data", "end of file", "eof"))
