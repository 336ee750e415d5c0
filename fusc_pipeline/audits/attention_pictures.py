"""Pictures of where the two classifiers look: a cleaned frame under each one's heat map, former text outlined.

Only cleaned pixels ever come in here; of the classifier that saw frames before cleaning only its map is drawn, which is
a few cells wide and can show no letter.
"""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from fusc_pipeline.audits.worst_pictures import FORMER_COLOUR

EDGE = 320  # pixels
_GAP = 6  # pixels between the two


def attention_pair(clean: np.ndarray, area: np.ndarray, within: np.ndarray, maps: Sequence[np.ndarray]) -> bytes:
    """PNG of a cleaned frame, uint8 (E, E), once for each attention map (S, S) >= 0, side by side.

    area, within: (E, E) bool, the former text and the fan; the text's outline is drawn outside of it. Each map is
    scaled by its own largest value, as the two classifiers' logits have no common unit.
    """
    rows, columns = np.flatnonzero(within.any(1)), np.flatnonzero(within.any(0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else np.s_[:, :]
    mask = area.astype(np.uint8)
    around = cv2.dilate(mask, np.ones((7, 7), np.uint8)) - cv2.dilate(mask, np.ones((3, 3), np.uint8))
    sides = []
    for attention in maps:
        heat = cv2.resize(attention.astype(np.float32), clean.shape[::-1], interpolation=cv2.INTER_LINEAR) * within
        heat = heat / heat.max() if heat.max() > 0 else heat
        colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]  # OpenCV's is BGR
        # The more attention, the less of the frame: what nobody looks at stays as it is.
        weight = (0.6 * heat)[..., None]
        shown = (clean[..., None] * (1 - weight) + colours * weight).astype(np.uint8)
        shown[around > 0] = FORMER_COLOUR
        sides += [shown[part], np.full((shown[part].shape[0], _GAP, 3), 255, np.uint8)]
    buffer = io.BytesIO()
    Image.fromarray(np.hstack(sides[:-1])).save(buffer, "PNG")
    return buffer.getvalue()
