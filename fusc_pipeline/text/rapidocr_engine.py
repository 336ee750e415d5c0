"""The second OCR engine: PP-OCRv6 (small) from the rapidocr wheel, on onnxruntime. No torch, no network, no EasyOCR.

It shares no weights and no code with EasyOCR, so it sees what EasyOCR misses: it checks that no text is left. The
package's own `RapidOCR` class is not used: it may download models, it logs to the console, and it pads six crops at a
time to the widest of them, so that one long thin box takes gigabytes. Its box finding and decoding are used.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from rapidocr.ch_ppocr_det.utils import DBPostProcess
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode
from rapidocr.utils.process_img import get_rotate_crop_image

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.text.boxes import Box, mostly_covered
from fusc_pipeline.text.colour import grey_and_chroma
from fusc_pipeline.text.crops import stretch
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.turned import TALL, side_by_side, upright
from fusc_pipeline.text.weights import RAPIDOCR_HASHES, REVISIONS, rapidocr_models

_STRIDE = 32
CROP_HEIGHT = 48
# Crops are padded to a multiple of this width and batched with their like.
_WIDTH_STEP = 80
# Memory grows faster than the width: 171 MB in all for one crop this wide, 1.2 GB for one of 19,200 pixels, which is
# what a box of 1,600 x 4 becomes; and six such go together in the package's own class.
_MAX_WIDTH = 1440
_MAX_BATCH_PIXELS = 2 * _MAX_WIDTH
# Chroma above this is overlay, not tissue; a word of three small letters has this many such pixels.
_COLOURED = 60
_COLOURED_PIXELS = 60
# How sure a reading of the inverted picture must be, and of how many letters and digits: valleys of speckle, inverted,
# read as a few letters, not surely.
_INVERTED_SURE, _INVERTED_LETTERS = 0.8, 3
# It is looked at this much smaller, which costs half.
_INVERTED_CANVAS = 0.75
# Places smaller than this, in pixels, hold no letter.
_LEAST = 6
# Crops read less surely than this are read turned as well; a turned reading must be surer by so much.
_TURN_BELOW, _SURER = 0.85, 0.1


class RapidOcrEngine:
    """PP-OCRv6 detector and recogniser without downloads, logging or unbounded memory; one thread.

    canvas: longest side, in pixels, the detector sees (frames are shrunk to it, never enlarged); pixel_threshold: text
    probability above which a pixel counts as text; box_threshold: mean probability a box needs; min_confidence:
    readings below it are dropped (the recogniser's mean character probability); dark: look for dark letters on bright
    tissue as well, which the detector does not see as they are: half as much time again. For verification take low
    thresholds (`RapidOcrEngine.sensitive()`).

    Raises BadSetting when rapidocr's model files are missing or have another hash.
    """

    name = "rapidocr"

    def __init__(
        self,
        *,
        canvas: int = 800,
        pixel_threshold: float = 0.3,
        box_threshold: float = 0.5,
        min_confidence: float = 0.0,
        dark: bool = False,
    ) -> None:
        if not 64 <= canvas <= 2048:
            raise BadSetting(f"canvas is {canvas}; the second OCR engine takes 64 to 2048 pixels")
        detector, recogniser = rapidocr_models()
        self.canvas, self.min_confidence, self.dark = canvas, min_confidence, dark
        self._detector = _session(detector)
        self._recogniser = _session(recogniser)
        self._boxes = DBPostProcess(
            thresh=pixel_threshold, box_thresh=box_threshold, unclip_ratio=1.6, use_dilation=True, max_candidates=1000
        )
        characters = self._recogniser.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._decode = CTCLabelDecode(character=characters)
        settings = {
            "canvas": canvas,
            "pixel_threshold": pixel_threshold,
            "box_threshold": box_threshold,
            "min_confidence": min_confidence,
            "dark": dark,
        }
        self.fingerprint = digest([self.name, REVISIONS[self.name], RAPIDOCR_HASHES, settings])

    @classmethod
    def sensitive(cls, canvas: int = 960) -> "RapidOcrEngine":
        """The engine that checks cleaned frames: doubtful boxes are read too; which readings count is the caller's."""
        return cls(canvas=canvas, pixel_threshold=0.2, box_threshold=0.3, dark=True)

    def read(self, pixels: np.ndarray) -> list[Word]:
        """See `OcrEngine.read`. A sloped line comes as its upright bounding box; empty readings are left out.

        A frame with coloured overlay is read a second time by its chroma alone: coloured letters on bright tissue are
        seen there and not in the picture. Of two readings of one place the surer is kept.
        """
        # The networks were trained on OpenCV's channel order.
        words = self._read(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_RGB2BGR))
        grey, chroma = grey_and_chroma(pixels)
        if np.count_nonzero(chroma > _COLOURED) >= _COLOURED_PIXELS:
            words += self._read(cv2.cvtColor(chroma, cv2.COLOR_GRAY2BGR))
            kept: list[Word] = []
            for word in sorted(words, key=lambda word: -word.confidence):
                if not mostly_covered(_box(word), map(_box, kept)):
                    kept.append(word)
            words = kept
        if self.dark:
            words += self._read_dark(grey, words)
        return sorted(words, key=lambda word: (word.y0, word.x0))

    def _read_dark(self, grey: np.ndarray, words: Sequence[Word]) -> list[Word]:
        """Sure words on the inverted picture, (H, W) uint8, that the picture as it is did not show as surely."""
        # What lies outside the fan stays black.
        inverted = np.where(grey > 0, 255 - grey, 0).astype(np.uint8)
        found = self._read(cv2.cvtColor(inverted, cv2.COLOR_GRAY2BGR), round(_INVERTED_CANVAS * self.canvas))
        known = [(_box(word), len(word.text)) for word in words if word.confidence >= _INVERTED_SURE]
        # A box of one letter around half the frame hides no word.
        return [
            word
            for word in found
            if _is_sure(word) and not mostly_covered(_box(word), [box for box, n in known if 2 * n > len(word.text)])
        ]

    def read_places(self, pixels: np.ndarray, places: Sequence[Word]) -> list[Word]:
        """What stands in the places given, read along their own angle without looking for text first.

        pixels: as for `read`; places: boxes that may reach beyond the frame. Empty readings are left out.
        """
        height, width = pixels.shape[:2]
        clipped = [(max(0, p.x0), max(0, p.y0), min(width, p.x1), min(height, p.y1), p.angle) for p in places]
        kept = [place for place in clipped if place[2] - place[0] >= _LEAST and place[3] - place[1] >= _LEAST]
        crops = [upright(pixels[y0:y1, x0:x1], angle) for x0, y0, x1, y1, angle in kept]
        colour = [cv2.cvtColor(crop, cv2.COLOR_GRAY2BGR if crop.ndim == 2 else cv2.COLOR_RGB2BGR) for crop in crops]
        return [
            Word(x0, y0, x1, y1, text.strip(), float(confidence), angle)
            for (x0, y0, x1, y1, angle), (text, confidence) in zip(kept, self._recognise(colour), strict=True)
            if text.strip() and confidence >= self.min_confidence
        ]

    def _read(self, colour: np.ndarray, canvas: int = 0) -> list[Word]:
        """Words on one BGR picture, of which the detector sees `canvas` pixels, 0 for the engine's own."""
        quads = self._detect(colour, canvas or self.canvas)
        crops = [get_rotate_crop_image(colour, quad) for quad in quads]
        words = []
        for quad, ((text, confidence), angle) in zip(quads, self._read_turned(crops, quads), strict=True):
            if text.strip() and confidence >= self.min_confidence:
                (x0, y0), (x1, y1) = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int) + 1
                words.append(Word(int(x0), int(y0), int(x1), int(y1), text.strip(), float(confidence), angle))
        return words

    def _read_turned(
        self, crops: Sequence[np.ndarray], quads: Sequence[np.ndarray]
    ) -> list[tuple[tuple[str, float], int]]:
        """Each crop's surest reading and its angle. Crops of tall quads come turned as lines that run downwards."""
        tall = [_is_tall(quad) for quad in quads]
        best = [(reading, 270 if down else 0) for reading, down in zip(self._recognise(crops), tall, strict=True)]
        unsure = [index for index, (reading, _) in enumerate(best) if reading[1] < _TURN_BELOW]
        again: list[tuple[int, int, np.ndarray]] = []
        for index in unsure:
            again.append((index, 90 if tall[index] else 180, upright(crops[index], 180)))
            if tall[index]:
                column = upright(crops[index], 90)
                letters = side_by_side(column, stretch(cv2.cvtColor(column, cv2.COLOR_BGR2GRAY)))
                again += [(index, 270, letters)] if letters is not None else []
        for (index, angle, _), reading in zip(again, self._recognise([crop for *_, crop in again]), strict=True):
            if len(reading[0].strip()) > 1 and reading[1] > best[index][0][1] + _SURER:
                best[index] = reading, angle
        return best

    def _detect(self, colour: np.ndarray, canvas: int) -> list[np.ndarray]:
        """Corners (4, 2) float32 of text lines on one BGR frame, clockwise from the top left, in the frame's pixels."""
        height, width = colour.shape[:2]
        scale = min(1.0, canvas / max(height, width))
        size = tuple(max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE) for side in (width, height))
        shrunk = cv2.resize(colour, size, interpolation=cv2.INTER_LINEAR)
        scores = self._detector.run(None, {"x": _normalised(shrunk)[None]})[0]
        quads, _ = self._boxes(scores, (height, width))
        return [quad.astype(np.float32) for quad in quads]

    def _recognise(self, crops: Sequence[np.ndarray]) -> list[tuple[str, float]]:
        """(text, mean character probability) of each BGR crop; crops of like width go through the network together."""
        lines = [_line(crop) for crop in crops]
        widths = [-(-line.shape[1] // _WIDTH_STEP) * _WIDTH_STEP for line in lines]
        results: list[tuple[str, float]] = [("", 0.0)] * len(lines)
        order = sorted(range(len(lines)), key=widths.__getitem__)
        start = 0
        while start < len(order):
            width = widths[order[start]]
            batch = [i for i in order[start : start + _MAX_BATCH_PIXELS // width] if widths[i] == width]
            stacked = np.zeros((len(batch), 3, CROP_HEIGHT, width), np.float32)
            for row, index in enumerate(batch):
                stacked[row, :, :, : lines[index].shape[1]] = _normalised(lines[index])
            decoded, _ = self._decode(self._recogniser.run(None, {"x": stacked})[0])
            for index, result in zip(batch, decoded, strict=True):
                results[index] = result
            start += len(batch)
        return results


def _session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # An arena keeps the largest frame's memory for good.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _is_sure(word: Word) -> bool:
    """Whether a reading of the inverted picture is text."""
    return (
        word.confidence >= _INVERTED_SURE and sum(c.isascii() and c.isalnum() for c in word.text) >= _INVERTED_LETTERS
    )


def _is_tall(quad: np.ndarray) -> bool:
    """Whether `get_rotate_crop_image` turned this quad's crop, as it does for what is taller than wide."""
    along = max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[2] - quad[3]))
    down = max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2]))
    return int(down) >= TALL * int(along)


def _box(word: Word) -> Box:
    return word.x0, word.y0, word.x1, word.y1


def _normalised(image: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) → float32 (3, h, w), -1 to 1, as both networks were trained."""
    return (image.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)


def _line(crop: np.ndarray) -> np.ndarray:
    """A crop scaled to the recogniser's height; what would be wider than it can take is squeezed."""
    height, width = crop.shape[:2]
    target = int(np.clip(np.ceil(CROP_HEIGHT * width / height), 8, _MAX_WIDTH))
    return cv2.resize(crop, (target, CROP_HEIGHT))
