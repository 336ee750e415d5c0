"""CRAFT as EasyOCR ships it: frame → boxes of text lines. Weights come verified from `weights`; no reading here."""

from pathlib import Path

import cv2
import numpy as np
import torch
from easyocr.craft import CRAFT
from easyocr.craft_utils import adjustResultCoordinates, getDetBoxes
from easyocr.detection import copyStateDict
from easyocr.utils import group_text_box

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.text.boxes import Box, area, around, mostly_covered
from fusc_pipeline.text.fast_inference import freeze

# ImageNet statistics, on the scale 0..255, as CRAFT was trained with.
_MEAN = torch.tensor([0.485, 0.456, 0.406]).mul(255).view(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).mul(255).view(1, 3, 1, 1)
_STRIDE = 32
# A quad this many times as tall as wide is a line that runs up or down; one letter is less.
_TURNED = 2.5
# How far around a line to look again, in heights of its letters: a value beside its name, a line above or below.
_ASIDE, _ABOVE = 2.0, 1.0
# Two neighbourhoods are looked at as one when that costs at most this much more.
_JOINED = 1.1
# Share of a box that its words' own boxes cover when all of them were found; the rest is gaps and margins.
_FOUND_AGAIN = 0.65


class TextDetector:
    """Finds lines of text.

    canvas: longest side, in pixels, of what the network sees of a frame (shrunk to it, never enlarged); text_threshold,
    low_text, link_threshold, min_size: EasyOCR's meaning (its `detect`), min_size in pixels of the frame; zoom: how
    many times larger the second look at the surroundings of what was found is, 0 for none.
    """

    def __init__(
        self,
        weights: Path,
        compute: Compute,
        canvas: int,
        text_threshold: float,
        low_text: float,
        link_threshold: float,
        min_size: int,
        zoom: float,
    ) -> None:
        network = CRAFT()
        network.load_state_dict(copyStateDict(torch.load(weights, map_location="cpu", weights_only=True)))
        self.network = freeze(network, compute.device, compute.bf16, compute.channels_last)
        self.dtype = torch.bfloat16 if compute.bf16 else torch.float32
        self.compute = compute
        self.canvas = canvas
        self.text_threshold, self.low_text, self.link_threshold = text_threshold, low_text, link_threshold
        self.min_size = min_size
        self.zoom = zoom

    @torch.inference_mode()
    def boxes(self, pixels: np.ndarray) -> list[Box]:
        """Boxes (x0, y0, x1, y1) of text lines on one frame, uint8 (H, W) or RGB (H, W, 3), clipped to it.

        The whole frame is looked at shrunk to the canvas, then the neighbourhoods of what was found, enlarged: screen
        text comes in columns, so what is too small to see at first stands beside what is not. Sloped lines come as
        their upright bounding box.
        """
        height, width = pixels.shape[:2]
        scale = min(1.0, self.canvas / max(height, width))
        coarse = self._lines(pixels, scale)
        if not self.zoom:
            return coarse
        fine = []
        for x0, y0, x1, y1 in neighbourhoods(coarse, width, height):
            part = np.ascontiguousarray(pixels[y0:y1, x0:x1])
            fine += [(x0 + a, y0 + b, x0 + c, y0 + d) for a, b, c, d in self._lines(part, self.zoom * scale)]
        # Where neighbourhoods overlap, one holds a line whole and the other perhaps a piece of it.
        found: list[Box] = []
        for box in sorted(fine, key=area, reverse=True):
            if not mostly_covered(box, found):
                found.append(box)
        # A line of the first look stays when the second found only some of its words.
        return found + [box for box in coarse if not mostly_covered(box, found, _FOUND_AGAIN)]

    def _lines(self, pixels: np.ndarray, scale: float) -> list[Box]:
        """Boxes of text lines, found with the picture scaled by `scale`, in its own pixels."""
        height, width = pixels.shape[:2]
        text, link = self._heatmaps(pixels, scale)
        quads, _, _ = getDetBoxes(text, link, self.text_threshold, self.link_threshold, self.low_text)
        if not len(quads):
            return []
        quads = adjustResultCoordinates(quads, 1 / scale, 1 / scale)
        flat = np.array([np.asarray(quad).astype(np.int32) for quad in quads])  # (N, 4, 2)
        wide, tall = np.ptp(flat, axis=1).T
        turned = tall >= _TURNED * wide
        corners = _grouped(flat[~turned])
        # Words of a turned line are joined along it; beside each other they are different lines.
        corners += [(x0, y0, x1, y1) for y0, x0, y1, x1 in _grouped(flat[turned][:, [0, 3, 2, 1], ::-1])]
        found = []
        for x0, y0, x1, y1 in corners:
            box = (max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1)))
            if box[2] > box[0] and box[3] > box[1] and max(box[2] - box[0], box[3] - box[1]) > self.min_size:
                found.append(box)
        return found

    def _heatmaps(self, pixels: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Text and link score maps, float32, at half the resolution the network saw."""
        if pixels.ndim == 2:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
        if scale != 1:
            size = (max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale)))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        height, width = pixels.shape[:2]
        padded = np.zeros((-(-height // _STRIDE) * _STRIDE, -(-width // _STRIDE) * _STRIDE, 3), np.uint8)
        padded[:height, :width] = pixels
        batch = torch.from_numpy(padded).permute(2, 0, 1)[None].float().sub_(_MEAN).div_(_STD)
        batch = batch.to(self.compute.device, self.dtype)
        if self.compute.channels_last:
            batch = batch.contiguous(memory_format=torch.channels_last)
        scores = self.network(batch)[0][0].float().cpu().numpy()
        return np.ascontiguousarray(scores[:, :, 0]), np.ascontiguousarray(scores[:, :, 1])


def _grouped(quads: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Corners (x0, y0, x1, y1) of the lines that words side by side make. quads: (N, 4, 2), clockwise from top left."""
    if not len(quads):
        return []
    flat = list(quads.reshape(len(quads), 8))
    # The thresholds of EasyOCR's `readtext`.
    upright, sloped = group_text_box(
        flat, slope_ths=0.1, ycenter_ths=0.5, height_ths=0.5, width_ths=0.5, add_margin=0.1
    )
    corners = [(b[0], b[2], b[1], b[3]) for b in upright]
    return corners + [(*np.min(quad, axis=0), *np.max(quad, axis=0)) for quad in sloped]


def neighbourhoods(boxes: list[Box], width: int, height: int) -> list[Box]:
    """Rectangles around boxes, clipped to the frame. Near boxes share one, unless it would be mostly empty."""
    regions: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        if y1 - y0 >= _TURNED * (x1 - x0):
            aside, above = int(_ABOVE * (x1 - x0)), int(_ASIDE * (x1 - x0))
        else:
            aside, above = int(_ASIDE * (y1 - y0)), int(_ABOVE * (y1 - y0))
        new = (max(0, x0 - aside), max(0, y0 - above), min(width, x1 + aside), min(height, y1 + above))
        while partner := next((region for region in regions if _worth_joining(region, new)), None):
            regions.remove(partner)
            new = around(partner, new)
        regions.append(new)
    return regions


def _worth_joining(one: Box, other: Box) -> bool:
    return area(around(one, other)) <= _JOINED * (area(one) + area(other))
