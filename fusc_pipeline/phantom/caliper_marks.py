"""Calipers as machines draw them: crosses with a digit, dotted lines at any angle, dotted ellipses; over any tissue.

They are drawn after everything else, from a random stream of their own: without them a phantom keeps its pixels.
"""

import numpy as np
from PIL import Image, ImageDraw

from fusc_pipeline.phantom.study import font

_COLOURS = ((255, 255, 255), (240, 240, 240), (255, 255, 90), (90, 230, 235), (200, 200, 200))
_TRIES = 40


def draw_calipers(
    screen: np.ndarray, ink: np.ndarray, fan: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(screen (H, W, 3) uint8, ink (H, W) bool, what of it are calipers (H, W) bool): one to three measurements.

    Dots are single pixels, 3 to 6 apart, of one exact level; crosses have arms of 3 to 7 pixels.
    """
    image, drawn = Image.fromarray(screen), Image.new("L", screen.shape[1::-1])
    draw, mark = ImageDraw.Draw(image), ImageDraw.Draw(drawn)
    rows, columns = np.nonzero(fan)
    colour = _COLOURS[int(rng.integers(len(_COLOURS)))]
    slanted, arm = bool(rng.random() < 0.4), int(rng.integers(3, 8))
    step = float(rng.uniform(3, 6))
    for number in range(int(rng.integers(1, 4))):
        for _ in range(_TRIES):
            at = int(rng.integers(len(rows)))
            middle = np.array([columns[at], rows[at]], float)
            angle, half = rng.uniform(0, np.pi), rng.uniform(30, 0.22 * min(screen.shape[:2]))
            axis = np.array([np.cos(angle), np.sin(angle)])
            ends = [middle + axis * half, middle - axis * half]
            if all(_inside(fan, end, arm + 2) for end in ends):
                break
        else:
            continue
        dots = (
            _ellipse(middle, axis, half, rng.uniform(0.5, 0.95), step)
            if rng.random() < 0.3
            else _line(ends[0], ends[1], step)
        )
        for x, y in dots:
            if _inside(fan, (x, y), 0):
                for canvas, fill in ((draw, colour), (mark, 255)):
                    canvas.point((x, y), fill)
        digit = str(number + 1)
        face = font("DejaVuSans", int(rng.integers(10, 14)))
        for end in ends:
            x, y = (round(v) for v in end)
            for canvas, fill in ((draw, colour), (mark, 255)):
                _cross(canvas, x, y, arm, slanted, fill)
        x, y = (round(v) for v in ends[0])
        for canvas, fill in ((draw, colour), (mark, 255)):
            canvas.fontmode = "1"  # machines write it of one level
            canvas.text((x + arm + 1, y - arm - 1), digit, fill, face, anchor="ls")
    calipers = (np.asarray(drawn) > 0) & fan
    shown = screen.copy()
    shown[calipers] = np.asarray(image)[calipers]
    return shown, ink | calipers, calipers


Fill = int | tuple[int, int, int]


def _inside(fan: np.ndarray, point: np.ndarray | tuple, margin: int) -> bool:
    x, y = (round(float(v)) for v in point)
    if not (margin <= x < fan.shape[1] - margin and margin <= y < fan.shape[0] - margin):
        return False
    return bool(fan[y - margin : y + margin + 1, x - margin : x + margin + 1].all())


def _line(first: np.ndarray, last: np.ndarray, step: float) -> list[tuple[int, int]]:
    count = max(2, int(np.hypot(*(last - first)) / step))
    return [(round(x), round(y)) for x, y in first + (last - first) * np.linspace(0, 1, count + 1)[:, None]]


def _ellipse(middle: np.ndarray, axis: np.ndarray, half: float, flat: float, step: float) -> list[tuple[int, int]]:
    fine = np.linspace(0, 2 * np.pi, 4000)
    across = np.array([-axis[1], axis[0]])
    points = middle + half * (np.cos(fine)[:, None] * axis + flat * np.sin(fine)[:, None] * across)
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    places = np.searchsorted(way, np.arange(0, way[-1], step))
    return [(round(x), round(y)) for x, y in points[places]]


def _cross(draw: ImageDraw.ImageDraw, x: int, y: int, arm: int, slanted: bool, fill: Fill) -> None:
    if slanted:
        draw.line((x - arm, y - arm, x + arm, y + arm), fill)
        draw.line((x - arm, y + arm, x + arm, y - arm), fill)
    else:
        draw.line((x - arm, y, x + arm, y), fill)
        draw.line((x, y - arm, x, y + arm), fill)
