"""PNG, JPEG and TIFF, decoded by Pillow, which refuses cut-short files; `stacks` knows ImageJ's. No DICOM here."""

import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from fusc_pipeline.scans.frames import Frame, ReadLimits, RejectedScan, as_grey_if_equal, quiet, to_eight_bits
from fusc_pipeline.scans.stacks import read_stack

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
# Pillow knows 16-bit grey with white as 0 in one byte order only.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
# TIFF tags; of EXIF the orientation is the same one.
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _PHOTOMETRIC, _ORIENTATION = 254, 255, 262, 274
_REDUCED = 2
_ALIKE = 8  # mean grey levels between a picture made smaller and its reduced copy
_TURNS = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


def read_raster(path: Path, kind: str, limits: ReadLimits) -> Iterator[Frame]:
    """Frames of a PNG (also animated), JPEG or TIFF (also of several pages, or an ImageJ stack). Raises RejectedScan.

    The size is checked from the header before a pixel is decoded. 16-bit grey is brought to 8 bits by the smallest of
    8, 10, 12 or 16 bits that holds its brightest pixel; alpha is laid over black, unless all of it is transparent;
    pictures are turned as EXIF or TIFF say they are shown.
    """
    done = 0
    try:
        with open(path, "rb") as own_stream, open(path, "rb") as stream:
            with quiet():
                # By stream: of a path Pillow maps the file into memory, and then takes the rows of a turned TIFF for
                # as long as they are shown.
                image = Image.open(own_stream, formats=[kind.upper()])
                _check_size(image, limits)
                notes: list[str] = []
                stack, pages = None, [0]
                if kind == "tiff":
                    pages = _pages(image, limits, notes)
                    stack = read_stack(image, stream) if len(pages) == 1 else None
                elif kind == "png":
                    pages = list(range(_animated(image, limits)))
                n_frames = stack.frames if stack else len(pages)
                if stack or (kind == "png" and n_frames > 1):
                    notes.append(f"{n_frames} pictures in one file")
            for index in limits.choose_frames(n_frames):
                with quiet():
                    if pages[-1]:
                        image.seek(pages[index])
                        _check_size(image, limits)
                    own = list(notes)
                    stored = Image.fromarray(stack.read(stream, index)) if stack else image
                    pixels = as_grey_if_equal(_turned(_to_uint8(stored, _is_white_zero(image), own), image, own))
                yield Frame(pixels, index, n_frames, kind, notes=tuple(own))
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


def _animated(image: Image.Image, limits: ReadLimits) -> int:
    """Pictures of an animated PNG, as its control chunk says; 1 for any other."""
    count = getattr(image, "n_frames", 1)
    limits.choose_frames(count)
    return count


def _pages(image: Image.Image, limits: ReadLimits, notes: list[str]) -> list[int]:
    """The pages of a TIFF that are pictures of their own: reduced copies of the first one are left out, and told.

    Found by stepping through them: stops at the limit, so that an endless chain costs nothing more.
    """
    pages, reduced, first = [0], 0, image.size
    for number in itertools.count(1):
        try:
            image.seek(number)
        except EOFError:
            break
        if number >= limits.max_frames:
            raise RejectedScan("too_many_pixels", f"more than {limits.max_frames} pages")
        if _is_reduced(image, number, first, limits):
            reduced += 1
        else:
            pages.append(number)
    image.seek(0)
    if reduced:
        notes.append(f"{reduced} reduced cop{'ies' if reduced > 1 else 'y'} of the picture left out")
    return pages


def _is_reduced(image: Image.Image, number: int, first: tuple[int, int], limits: ReadLimits) -> bool:
    """Whether this page is said to be a reduced copy, or looks like the first one made smaller."""
    tags = cast(TiffImageFile, image).tag_v2
    if tags.get(_NEW_SUBFILE_TYPE, 0) & 1 or tags.get(_SUBFILE_TYPE) == _REDUCED:
        return True
    size = image.size
    shrunk = size[0] < first[0] and abs(size[0] * first[1] - size[1] * first[0]) <= max(first)
    if not shrunk or min(size) < 1:
        return False
    _check_size(image, limits)
    small = _to_uint8(image, _is_white_zero(image), [])
    image.seek(0)
    whole = cv2.resize(_to_uint8(image, _is_white_zero(image), []), size, interpolation=cv2.INTER_AREA)
    image.seek(number)
    return small.shape == whole.shape and float(cv2.absdiff(small, whole).mean()) < _ALIKE


def _is_white_zero(image: Image.Image) -> bool:
    """Whether a TIFF stores white as 0; Pillow turns such pictures round up to 8 bits only."""
    return getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0


def _turned(pixels: np.ndarray, image: Image.Image, notes: list[str]) -> np.ndarray:
    """As every viewer shows it, by the orientation of EXIF (1 to 8); a TIFF was turned by Pillow when it was loaded."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation not in _TURNS:
        return pixels
    notes.append("turned as its orientation says")
    return _TURNS[orientation](pixels)


def _to_uint8(image: Image.Image, white_zero: bool, notes: list[str]) -> np.ndarray:
    mode = image.mode
    if mode in _DEEP_MODES:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise RejectedScan("unsupported_pixels", "grey values outside 0 to 65535")
        bits = next(bits for bits in (8, 10, 12, 16) if values.max() < 1 << bits)
        return to_eight_bits((1 << bits) - 1 - values if white_zero else values, bits)
    if mode == "P" and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    if mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if not rgba.getchannel("A").getextrema()[1]:
            # A converter that knows no alpha leaves it at 0 everywhere: then the colours are the picture.
            notes.append("wholly transparent; shown by its colours")
            return np.asarray(rgba)[..., :3]
        return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB"))
    if mode in _EIGHT_BIT_MODES:
        return np.asarray(image)
    if mode in _CONVERTED_MODES:
        return np.asarray(image.convert(_CONVERTED_MODES[mode]))
    raise RejectedScan("unsupported_pixels", "floating point or another uncommon pixel type")


def _says_truncated(error: BaseException) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("truncat", "unrecognized data stream", "broken data", "end of file", "eof"))
