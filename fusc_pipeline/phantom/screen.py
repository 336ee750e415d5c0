"""From a picture to a screen: the tint, the vendor's furniture, calipers, and the typed text; and which pixels are ink.

`labels` says what is typed, this module says where.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from fusc_pipeline.phantom.furniture import Box, draw_furniture
from fusc_pipeline.phantom.label_words import TypedLabel
from fusc_pipeline.phantom.machine_styles import Fan, Machine
from fusc_pipeline.phantom.study import WHITE, YELLOW, Study, font

# Grey level -> shown colour at a few knots; "violet" and "cool" were read off two public Voluson frames.
_TINTS = {
    "grey": ((0, 0, 0), (255, 255, 255)),
    "cool": (
        (0, 0, 0),
        (56, 58, 60),
        (94, 97, 102),
        (134, 139, 146),
        (173, 179, 187),
        (208, 215, 225),
        (240, 248, 255),
    ),
    "violet": ((0, 0, 0), (58, 57, 80), (96, 96, 118), (136, 137, 156), (171, 173, 188), (250, 251, 255)),
    "sepia": ((0, 0, 0), (72, 60, 44), (142, 124, 94), (206, 188, 150), (255, 246, 222)),
}


@dataclass(frozen=True)
class Measurement:
    """Calipers on the picture: `outline` (N, 2) screen pixels, closed for a circumference; `name` and millimetres."""

    name: str
    outline: np.ndarray
    closed: bool
    millimetres: float


def tinted(picture: np.ndarray, tint: str) -> np.ndarray:
    """(H, W) uint8 -> (H, W, 3) uint8 through a tint's colour map."""
    knots = np.array(_TINTS[tint], float)
    levels = np.linspace(0, 255, len(knots)) if tint in ("grey", "sepia") else knots[:, 1] * 255 / knots[-1, 1]
    table = np.stack([np.interp(np.arange(256), levels, knots[:, c]) for c in range(3)], 1).round().astype(np.uint8)
    return cv2.merge([cv2.LUT(picture, table[:, c]) for c in range(3)])


def draw_screen(
    picture: np.ndarray,
    mask: np.ndarray,
    fan: Fan,
    machine: Machine,
    study: Study,
    depth_cm: float,
    label: TypedLabel,
    measurement: Measurement | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, Box | None]:
    """(screen (H, W, 3) uint8, ink (H, W) bool: pixels inside the fan that were drawn over, the typed label's box)."""
    base = tinted(picture, study.tint)
    image = Image.fromarray(base.copy())
    draw = ImageDraw.Draw(image)
    taken = draw_furniture(image, fan, machine, study, depth_cm, rng)
    if measurement is not None:
        taken.append(_measurement(draw, image.size, study, measurement))
    box = None
    if label.text is not None:
        box = _type(draw, label.text, picture, mask, study, taken, rng)
    if label.second is not None:
        _type(draw, label.second, picture, mask, study, taken, rng, shrink=0.85)
    screen = np.asarray(image)
    changed = cv2.absdiff(screen, base)
    drawn = cv2.max(cv2.max(changed[..., 0], changed[..., 1]), changed[..., 2]) > 0
    return screen, drawn & mask, box


def _type(
    draw: ImageDraw.ImageDraw,
    text: str,
    picture: np.ndarray,
    mask: np.ndarray,
    study: Study,
    taken: list[Box],
    rng: np.random.Generator,
    shrink: float = 1.0,
) -> Box:
    """Type text over the picture, mostly where it is dark enough to be read and nothing is written yet."""
    face = font(study.label_font, max(12, round(study.label_size * shrink * picture.shape[0] / 600)))
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=face, spacing=3)
    wide, tall = right - left, bottom - top
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x_range, y_range = (
        (columns[0], max(columns[0] + 1, columns[-1] - wide)),
        (rows[0], max(rows[0] + 1, rows[-1] - tall)),
    )
    corner = rng.random() < 0.15
    best, best_cost = (0, 0, 0, 0), np.inf
    for k in range(24):
        if corner:  # a corner of the fan's box: not always over tissue
            x = x_range[k % 2] + (12 if k % 2 == 0 else -12)
            y = y_range[k // 2 % 2] + (8 if k // 2 % 2 == 0 else -8)
        else:
            x, y = int(rng.integers(*x_range)), int(rng.integers(*y_range))
        box = (x, y, x + wide, y + tall)
        under = picture[y : y + tall, x : x + wide]
        outside = 0.0 if corner else float(1 - mask[y : y + tall, x : x + wide].mean())
        overlap = sum(_overlaps(box, other) for other in taken)
        cost = float(under.mean()) / 255 + 10 * outside + 20 * overlap + float(rng.uniform(0, 0.5))
        if cost < best_cost:
            best, best_cost = box, cost
    x, y = best[:2]
    colour = study.label_colour
    if colour == WHITE and picture[best[1] : best[3], best[0] : best[2]].mean() > 110:
        colour = YELLOW  # white on bright tissue could not be read by anyone
    draw.multiline_text((x - left, y - top), text, font=face, fill=colour, spacing=3)
    taken.append(best)
    x0, y0, x1, y1 = (int(v) for v in best)
    return x0, y0, x1, y1


def _overlaps(a: Box, b: Box) -> bool:
    """Whether two boxes come within 6 pixels of each other."""
    return a[0] < b[2] + 6 and b[0] < a[2] + 6 and a[1] < b[3] + 6 and b[1] < a[3] + 6


def _measurement(draw: ImageDraw.ImageDraw, size: tuple[int, int], study: Study, measured: Measurement) -> Box:
    """Dotted caliper line with end marks, and the result's box at the bottom right."""
    path = np.concatenate([measured.outline, measured.outline[:1]]) if measured.closed else measured.outline
    steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    for at in np.arange(0, steps[-1], 5.0):
        x, y = (np.interp(at, steps, path[:, axis]) for axis in (0, 1))
        draw.point((round(x), round(y)), fill=(235, 235, 120))
    for x, y in (measured.outline[0], measured.outline[len(measured.outline) // 2 if measured.closed else -1]):
        draw.line((x - 5, y, x + 5, y), fill=(250, 250, 120))
        draw.line((x, y - 5, x, y + 5), fill=(250, 250, 120))
    s = size[1] / 600
    box = (round(size[0] * 0.984 - 92 * s), round(size[1] - 39 * s), round(size[0] * 0.984), size[1] - 1)
    draw.rectangle(box, fill=(40, 40, 40))
    face = font("DejaVuSans", round(14 * s))
    for k, (name, value) in enumerate(((measured.name, f"{measured.millimetres:.1f}mm"), ("GA", study.gestation))):
        y = box[1] + (2 + 18 * k) * s
        draw.text((box[0] + 4 * s, y), name, font=face, fill=WHITE)
        draw.text((box[2] - 2 * s, y), value, font=face, fill=WHITE, anchor="ra")
    return box
