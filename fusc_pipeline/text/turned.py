"""Lines that do not run from left to right: a box's crop as it must be turned to be read. Which reading is right is
the engines' business."""

import numpy as np

# A box so many times as tall as wide may hold a line that runs up or down, or letters one below another.
TALL = 1.5
# Letters one below another: at least so many, of sizes alike within this factor.
_LETTERS, _ALIKE = 3, 2.0
# Rows with less ink than this share of the fullest are gaps between letters.
_GAP = 0.12


def upright(crop: np.ndarray, angle: int) -> np.ndarray:
    """A crop, (h, w) or (h, w, 3), turned so that a line at `angle` (see `engine.Word`) runs from left to right."""
    return np.ascontiguousarray(np.rot90(crop, -angle // 90))


def side_by_side(crop: np.ndarray, ink: np.ndarray) -> np.ndarray | None:
    """Letters that stand one below another, laid side by side, or None when the crop does not fall into such.

    crop: (h, w) or (h, w, 3) uint8; ink: (h, w) uint8, bright where strokes are.
    """
    rows = (ink > 128).sum(1)
    filled = rows > max(1.0, _GAP * rows.max(initial=0))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(np.int8)))
    runs = edges.reshape(-1, 2)
    # A speck between two letters is no letter.
    tall = np.diff(runs, axis=1)[:, 0]
    if not len(runs):
        return None
    runs = runs[tall >= tall.max() / _ALIKE]
    if len(runs) < _LETTERS:
        return None
    margin = max(1, int(tall.max()) // 8)
    height = int(np.diff(runs, axis=1).max()) + 2 * margin
    tiles = []
    for top, bottom in runs:
        middle = (top + bottom) // 2
        y0 = min(max(0, middle - height // 2), max(0, len(crop) - height))
        columns = np.flatnonzero((ink[top:bottom] > 128).any(0))
        x0, x1 = max(0, columns[0] - margin), min(crop.shape[1], columns[-1] + 1 + margin)
        tiles.append(crop[y0 : y0 + height, x0:x1])
    least = min(len(tile) for tile in tiles)
    return np.concatenate([tile[:least] for tile in tiles], axis=1)
