"""EasyOCR's English recogniser (CRNN, generation 2): grey crops → strings and confidences, many crops at a time."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from easyocr.config import recognition_models
from easyocr.model.vgg_model import Model
from easyocr.utils import CTCLabelConverter

from fusc_pipeline.compute import Compute
from fusc_pipeline.text.fast_inference import freeze

CROP_HEIGHT = 64
# Crops are padded to a multiple of this width and batched with their like.
_WIDTH_STEP = 64
_MAX_WIDTH = 64 * 24
_MAX_BATCH = 16


class TextRecogniser:
    """Reads crops that hold one line each. Convolutions run in `compute`'s precision, the recurrent part in float32."""

    def __init__(self, weights: Path, compute: Compute) -> None:
        characters = recognition_models["gen2"]["english_g2"]["characters"]
        self.converter = CTCLabelConverter(characters)
        model = Model(input_channel=1, output_channel=256, hidden_size=256, num_class=len(self.converter.character))
        state = torch.load(weights, map_location="cpu", weights_only=True)
        # Saved from a DataParallel wrapper: every key starts with "module.".
        model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
        model.eval().requires_grad_(False).to(compute.device)
        self.features = freeze(model.FeatureExtraction, compute.device, compute.bf16, compute.channels_last)
        self.sequence, self.prediction = model.SequenceModeling, model.Prediction
        self.compute = compute
        self.dtype = torch.bfloat16 if compute.bf16 else torch.float32
        # The currency sign is the one character of the set that no label holds.
        self.ignored = [self.converter.dict["€"]]

    @torch.inference_mode()
    def read(self, crops: Sequence[np.ndarray]) -> list[tuple[str, float]]:
        """(text, confidence 0..1) of each crop, uint8 (h, w), bright text on dark; confidence as EasyOCR defines it."""
        lines = [_line(crop) for crop in crops]
        results: list[tuple[str, float]] = [("", 0.0)] * len(lines)
        widths = [-(-line.shape[1] // _WIDTH_STEP) * _WIDTH_STEP for line in lines]
        order = sorted(range(len(lines)), key=widths.__getitem__)
        start = 0
        while start < len(order):
            width = widths[order[start]]
            batch = [i for i in order[start : start + _MAX_BATCH] if widths[i] == width]
            for index, result in zip(batch, self._forward([lines[i] for i in batch], width), strict=True):
                results[index] = result
            start += len(batch)
        return results

    def _forward(self, lines: list[np.ndarray], width: int) -> list[tuple[str, float]]:
        # Right padding repeats the last column, as EasyOCR does.
        padded = np.stack([np.pad(line, ((0, 0), (0, width - line.shape[1])), mode="edge") for line in lines])
        batch = torch.from_numpy(padded)[:, None].float().div_(127.5).sub_(1)  # (N, 1, 64, width), -1..1
        features = self.features(batch.to(self.compute.device, self.dtype)).float()  # (N, 256, h', T)
        sequence = self.sequence(features.mean(2).transpose(1, 2))  # (N, T, 256)
        scores = self.prediction(sequence)  # (N, T, characters)
        scores[:, :, self.ignored] = float("-inf")
        best, index = scores.softmax(2).cpu().max(2)
        texts = self.converter.decode_greedy(index.reshape(-1).numpy(), [index.shape[1]] * len(lines))
        return [
            (text, _confidence(probabilities[steps != 0].numpy()))
            for text, probabilities, steps in zip(texts, best, index, strict=True)
        ]


def _line(crop: np.ndarray) -> np.ndarray:
    """A crop scaled to the recogniser's height; what would be wider than it can take is squeezed."""
    height, width = crop.shape
    target = int(np.clip(round(CROP_HEIGHT * width / height), 8, _MAX_WIDTH))
    return cv2.resize(crop, (target, CROP_HEIGHT), interpolation=cv2.INTER_CUBIC)


def _confidence(probabilities: np.ndarray) -> float:
    """EasyOCR's: the product of the non-blank steps' probabilities to the power 2/sqrt(n); 0 without any."""
    if not len(probabilities):
        return 0.0
    return float(np.prod(probabilities.astype(np.float64)) ** (2.0 / np.sqrt(len(probabilities))))
