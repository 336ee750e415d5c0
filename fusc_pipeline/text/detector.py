"""CRAFT as EasyOCR ships it: frame → boxes of text lines. Weights come verified from `weights`; no reading here."""

from pathlib import Path

import cv2
import numpy as np
import torch
from easyocr.craft import CRAFT
from easyocr.craft_utils import adjustResultCoordinates, getDetBoxes
from easyocr.detection import copyStateDict
from easyocr.utils import group_text_box

from fusc_pipeline.compute import Compute
from fusc_pipeline.text.fast_inference import freeze

# ImageNet statistics, on the scale 0..255, as CRAFT was trained with.
_MEAN = torch.tensor([0.485, 0.456, 0.406]).mul(255).view(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).mul(255).view(1, 3, 1, 1)
_STRIDE = 32

Box = tuple[int, int, int, int]


class TextDetector:
    """Finds lines of text.

    canvas: longest side, in pixels, of what the network sees (frames are shrunk to it, never enlarged); text_threshold,
    low_text, link_threshold, min_size: EasyOCR's meaning (its `detect`), min_size in pixels of the frame.
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
    ) -> None:
        network = CRAFT()
        network.load_state_dict(copyStateDict(torch.load(weights, map_location="cpu", weights_only=True)))
        self.network = freeze(network, compute.device, compute.bf16, compute.channels_last)
        self.dtype = torch.bfloat16 if compute.bf16 else torch.float32
        self.compute = compute
        self.canvas = canvas
        self.text_threshold, self.low_text, self.link_threshold = text_threshold, low_text, link_threshold
        self.min_size = min_size

    @torch.inference_mode()
    def boxes(self, pixels: np.ndarray) -> list[Box]:
        """Boxes (x0, y0, x1, y1) of text lines on one frame, uint8 (H, W) or RGB (H, W, 3), clipped to it.

        Sloped lines come as their upright bounding box.
        """
        height, width = pixels.shape[:2]
        scale = min(1.0, self.canvas / max(height, width))
        text, link = self._heatmaps(pixels, scale)
        quads, _, _ = getDetBoxes(text, link, self.text_threshold, self.link_threshold, self.low_text)
        if not len(quads):
            return []
        quads = adjustResultCoordinates(quads, 1 / scale, 1 / scale)
        flat = [np.asarray(quad).astype(np.int32).reshape(-1) for quad in quads]
        # The thresholds of EasyOCR's `readtext`.
        upright, sloped = group_text_box(
            flat, slope_ths=0.1, ycenter_ths=0.5, height_ths=0.5, width_ths=0.5, add_margin=0.1
        )
        corners = [(b[0], b[2], b[1], b[3]) for b in upright]
        corners += [(*np.min(quad, axis=0), *np.max(quad, axis=0)) for quad in sloped]
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
        if scale < 1:
            size = (int(pixels.shape[1] * scale), int(pixels.shape[0] * scale))
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
