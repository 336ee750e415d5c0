"""EasyOCR's English recogniser (CRNN, generation 2): grey crops → strings and confidences, one crop at a time."""

from pathlib import Path

import cv2
import numpy as np
import torch
from easyocr.config import recognition_models
from easyocr.model.vgg_model import Model
from easyocr.utils import CTCLabelConverter

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.text.fast_inference import freeze

CROP_HEIGHT = 64
# Crops are padded to a multiple of this width.
_WIDTH_STEP = 64
_MAX_WIDTH = 64 * 24


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
    def read(self, crop: np.ndarray) -> tuple[str, float]:
        """(text, confidence 0..1) of a crop, uint8 (h, w), bright text on dark; confidence as EasyOCR defines it.

        A crop goes through the network alone, so that its reading is a function of its pixels. In a batch the last
        digits of a confidence depend on the batch's size (other kernels are chosen), and no kernel promises that they
        do not depend on the other rows.
        """
        line = _line(crop)
        # Right padding repeats the last column, as EasyOCR does.
        padded = np.pad(line, ((0, 0), (0, -line.shape[1] % _WIDTH_STEP)), mode="edge")
        batch = torch.from_numpy(padded)[None, None].float().div_(127.5).sub_(1)  # (1, 1, 64, width), -1..1
        features = self.features(batch.to(self.compute.device, self.dtype)).float()  # (1, 256, h', T)
        sequence = self.sequence(features.mean(2).transpose(1, 2))  # (1, T, 256)
        scores = self.prediction(sequence)  # (1, T, characters)
        scores[:, :, self.ignored] = float("-inf")
        best, index = scores[0].softmax(1).cpu().max(1)
        (text,) = self.converter.decode_greedy(index.numpy(), [len(index)])
        return text, _confidence(best[index != 0].numpy())


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
