"""The EasyOCR engine: its detector and recogniser, run offline from verified weights, small text looked at twice.

EasyOCR's `Reader` is not used: it unpickles weights, appends a writable folder to sys.path, deletes and downloads files
on a wrong hash and quantises by default, which changes confidences. Its networks, box finding and decoding are.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.text import crops
from fusc_pipeline.text.boxes import Box
from fusc_pipeline.text.colour import grey_and_chroma
from fusc_pipeline.text.detector import TextDetector
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.recogniser import TextRecogniser
from fusc_pipeline.text.turned import TALL, side_by_side, upright
from fusc_pipeline.text.weights import DETECTOR_FILE, RECOGNISER_FILE, REVISIONS, WEIGHT_HASHES, resolve_weights

__all__ = ["EasyOcrEngine", "resolve_weights"]

_CACHED_CROPS = 4096
# How sure a turned reading must be, and of how many letters and digits. Speckle reads as a letter or two either way.
_TURNED_SURE, _TURNED_LETTERS = 0.4, 3
# A line so many times as wide as tall, read less surely than the first, is read upside down too, which must be surer by
# the second. Shorter ones read either way: a settings column is full of them.
_LONG, _UPSIDE_DOWN, _SURER = 4, 0.6, 0.2

Reading = tuple[str, float]


class EasyOcrEngine:
    """EasyOCR (CRAFT + English CRNN) without network access, quantisation or pickles.

    weights: folder with both files (None: see `resolve_weights`); compute: device and precision (None: detected, with
    one thread, because several OpenMP threads collapse when cores are shared); canvas: longest side CRAFT sees;
    text_threshold, low_text, link_threshold, min_size, zoom: see `TextDetector`; second_try: below this confidence the
    other kind of crop is read too, and the surer reading kept.

    Raises BadSetting when the weights are missing or have another hash.
    """

    name = "easyocr"

    def __init__(
        self,
        weights: Path | None = None,
        *,
        compute: Compute | None = None,
        canvas: int = 576,
        text_threshold: float = 0.5,
        low_text: float = 0.35,
        link_threshold: float = 0.4,
        min_size: int = 5,
        zoom: float = 1.6,
        second_try: float = 0.6,
    ) -> None:
        folder = resolve_weights(weights)
        compute = compute or Compute.detect(threads=1)
        compute.apply_threads()
        self.detector = TextDetector(
            folder / DETECTOR_FILE, compute, canvas, text_threshold, low_text, link_threshold, min_size, zoom
        )
        self.recogniser = TextRecogniser(folder / RECOGNISER_FILE, compute)
        self.second_try = second_try
        settings = {
            "canvas": canvas,
            "text_threshold": text_threshold,
            "low_text": low_text,
            "link_threshold": link_threshold,
            "min_size": min_size,
            "zoom": zoom,
            "second_try": second_try,
            "bf16": compute.bf16,
        }
        self.fingerprint = digest([self.name, REVISIONS[self.name], WEIGHT_HASHES, settings])
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def read(self, pixels: np.ndarray) -> list[Word]:
        """See `OcrEngine.read`."""
        boxes = self.detector.boxes(pixels)
        grey, chroma = grey_and_chroma(pixels)
        words = []
        for box in boxes:
            (text, confidence), angle = self._read_line(_cut(grey, box), _cut(chroma, box))
            words.append(Word(*box, text=text.strip(), confidence=confidence, angle=angle))
        return sorted(words, key=lambda word: (word.y0, word.x0))

    def _read_line(self, grey: np.ndarray, chroma: np.ndarray) -> tuple[Reading, int]:
        """The reading of a box's grey and chroma, (h, w), and the line's angle: upright unless it is surer turned."""
        height, width = grey.shape
        reading = self._read_upright(grey, chroma)
        if height < TALL * width:
            if width < _LONG * height or reading[1] >= _UPSIDE_DOWN:
                return reading, 0
            over = self._read_upright(upright(grey, 180), upright(chroma, 180))
            return (over, 180) if _is_line(over) and over[1] >= reading[1] + _SURER else (reading, 0)
        best, best_angle = reading, 0
        for angle in (90, 270):
            turned = self._read_upright(upright(grey, angle), upright(chroma, angle))
            # A tall box read as one letter says nothing, however sure.
            if _is_line(turned) and (turned[1] > best[1] or not _is_line(best)):
                best, best_angle = turned, angle
        if best_angle == 0:
            column = side_by_side(grey, crops.variants(grey, chroma)[0])
            if column is not None and _is_line(letters := self._read_crop(crops.stretch(column))):
                best, best_angle = letters, 270
        return best, best_angle

    def _read_upright(self, grey: np.ndarray, chroma: np.ndarray) -> Reading:
        """The surer reading of the two kinds of crop."""
        first, other = crops.variants(grey, chroma)
        reading = self._read_crop(first)
        if reading[1] < self.second_try:
            reading = max(reading, self._read_crop(other), key=lambda text_and_confidence: text_and_confidence[1])
        return reading

    def _read_crop(self, image: np.ndarray) -> Reading:
        """A crop's reading; pixel-identical ones (screen furniture, mostly) are recognised once.

        The recogniser reads a crop alone, so what is remembered is what would be computed again: a frame's words do not
        depend on which frames this process read before.
        """
        key = crops.key(image)
        if key not in self._known:
            self._known[key] = self.recogniser.read(image)
        self._known.move_to_end(key)
        if len(self._known) > _CACHED_CROPS:
            self._known.popitem(last=False)
        return self._known[key]


def _is_line(reading: Reading) -> bool:
    """Whether a turned reading is more than what speckle gives."""
    text, confidence = reading
    return confidence >= _TURNED_SURE and sum(letter.isalnum() for letter in text) >= _TURNED_LETTERS


def _cut(image: np.ndarray, box: Box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return image[y0:y1, x0:x1]
