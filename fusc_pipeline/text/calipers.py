"""Calipers: dotted lines and ellipses, the crosses at their ends, and the digit beside a cross; over any tissue.

What somebody measured is a shortcut for any network. A dot is a point brighter than all around it, which speckle has
too; but dots stand at equal steps along a line that bends little, and are of one level.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

# A dot: this many grey levels above what is as wide; at its expected place fewer do. Of a tile so many are looked at.
_DOT_LEVELS, _FAINT_DOT = 22, 8
# And this many above each of its neighbours.
_SHARP, _RING = 10, np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
_TILE = 64
# Points of a tile that are looked at, how many of them make a line, how unlike in level those of a line may be: among
# many points more is asked, for lines come about by chance.
_LOOKS = ((30, 7, 24), (90, 9, 9))
# Steps between dots, in pixels; how far a dot may be from where it is expected; how alike dots are in level.
_STEP, _OFF, _LEVEL = (2.5, 7.6), 1.9, 40
# Crosses: arms in pixels; grey levels that each arm's pixel is above what is as wide, and above what lies between.
_ARMS, _ARM_LEVELS, _CROSS_LEVELS = (3, 4, 5, 6, 7, 8), 12, 24
_DIGIT, _DIGIT_REACH = (6, 16), 26


def find_calipers(grey: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of dots, crosses and their digits inside the fan. grey: (H, W) uint8; fan: (H, W) bool."""
    x, y, width, height = cv2.boundingRect(fan.astype(np.uint8))
    found = np.zeros(grey.shape, bool)
    if min(width, height) < 32:
        return found
    box = np.s_[y : y + height, x : x + width]
    inside, within = np.ascontiguousarray(grey[box]), fan[box]
    # What this opening takes away is narrower than three pixels in every direction: dots, and arms of crosses.
    thin = cv2.subtract(inside, cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    marks = _dotted(inside, thin, within)
    for cross in _crosses(inside, thin, within):
        _draw(marks, cross, inside)
    found[box] = marks & within
    return found


def _dotted(grey: np.ndarray, thin: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """Dots that stand in lines."""
    # A point: speckle is smooth from one pixel to the next, and flat where it is clipped.
    peaks = (thin >= _DOT_LEVELS) & (cv2.subtract(grey, cv2.dilate(grey, _RING)) >= _SHARP) & fan
    marks = np.zeros(grey.shape, bool)
    rows, columns = np.nonzero(peaks)
    for most, dots, spread in _LOOKS:
        keep = _standing_out(rows, columns, thin[rows, columns], most)
        points, levels = np.column_stack([columns, rows])[keep].astype(float), grey[rows, columns][keep].astype(float)
        if len(points) >= dots:
            for chain in _chains(points, levels, dots, spread):
                _mark(marks, chain, thin)
    return marks


def _standing_out(rows: np.ndarray, columns: np.ndarray, height: np.ndarray, most: int) -> np.ndarray:
    """Indices of the points that stand out most in their tile: among more of them lines come about by chance."""
    tile = rows // _TILE * 4096 + columns // _TILE
    order = np.lexsort((-height.astype(int), tile))
    first = np.concatenate([[True], np.diff(tile[order]) != 0]) if len(order) else np.zeros(0, bool)
    starts = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    return np.sort(order[np.arange(len(order)) - starts < most])


def _chains(points: np.ndarray, levels: np.ndarray, dots: int, spread: float) -> list[np.ndarray]:
    """Lines of at least `dots` points (n, 2), each next one about where the step before leads."""
    tree = cKDTree(points)
    pairs = tree.query_pairs(_STEP[1], output_type="ndarray")
    if not len(pairs):
        return []
    steps = np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T)
    alike = np.abs(levels[pairs[:, 0]] - levels[pairs[:, 1]]) <= _LEVEL
    pairs = pairs[(steps >= _STEP[0]) & alike]
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    # The pair that goes on from each pair: the next point about where this step leads.
    ahead = 2 * points[pairs[:, 1]] - points[pairs[:, 0]]
    off, following = tree.query(ahead, k=1, distance_upper_bound=_OFF)
    going = np.isfinite(off)
    going[going] &= np.abs(levels[following[going]] - levels[pairs[going, 1]]) <= _LEVEL
    names = pairs[:, 0] * len(points) + pairs[:, 1]
    order = np.argsort(names)
    wanted = np.where(going, pairs[:, 1] * len(points) + np.where(going, following, 0), -1)
    place = np.minimum(np.searchsorted(names, wanted, sorter=order), len(names) - 1)
    next_pair = np.where(names[order[place]] == wanted, order[place], -1)
    # A step that leads on often enough starts a line; the others are never looked at again.
    reach = np.zeros(len(pairs), int)
    onward = next_pair.copy()
    for _ in range(dots - 2):
        reach += onward >= 0
        onward = np.where(onward >= 0, next_pair[onward], -1)
    used = np.zeros(len(points), bool)
    found = []
    for k in np.flatnonzero(reach >= dots - 2):
        first, second = pairs[k]
        if used[first] and used[second]:
            continue
        chain = _grown(points, levels, tree, int(first), int(second))
        if len(chain) >= dots and _is_even(points[chain], levels[chain], spread):
            used[chain] = True
            found.append(_extended(points[chain]))
    return found


def _grown(points: np.ndarray, levels: np.ndarray, tree: cKDTree, first: int, second: int) -> list[int]:
    """The line through two points, both ways; a missing dot is stepped over."""
    chain = [first, second]
    for _ in range(2):
        line = [points[n] for n in chain[-_BEFORE:]]  # with what was stepped over
        missed = 0
        while missed <= 1:
            # The mean of some steps: one alone is rounded to whole pixels. Where the line bends, a parabola leads on.
            few = line[-5:]
            ahead = line[-1] + (few[-1] - few[0]) / (len(few) - 1)
            best = _next_to(ahead, points, levels, tree, chain)
            if best is None and len(line) == _BEFORE:
                best = _next_to(_PARABOLA @ np.array(line), points, levels, tree, chain)
            missed = missed + 1 if best is None else 0
            if best is not None:
                chain.append(best)
            line = [*line, ahead if best is None else points[best]][-_BEFORE:]
        chain.reverse()
    return chain


def _next_to(place: np.ndarray, points: np.ndarray, levels: np.ndarray, tree: cKDTree, chain: list[int]) -> int | None:
    """The point about a place that is not in the chain and as bright as it is; None without one."""
    level = float(np.median(levels[chain]))
    near = [n for n in tree.query_ball_point(place, _OFF) if n not in chain and abs(levels[n] - level) <= _LEVEL]
    return min(near, key=lambda n: float(np.hypot(*(points[n] - place)))) if near else None


_BEFORE = 7
# What of so many points gives the next one, by a parabola through them.
_PARABOLA = np.vander([_BEFORE], 3)[0] @ np.linalg.pinv(np.vander(range(_BEFORE), 3))


def _is_even(line: np.ndarray, levels: np.ndarray, spread: float) -> bool:
    """Whether the steps are alike, and the line bends little and the same way."""
    steps = np.diff(line, axis=0)
    lengths = np.hypot(*steps.T)
    usual = np.median(lengths)
    alike = np.abs(lengths - usual) <= 1.2
    angles = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    smooth = np.convolve(angles, np.ones(3) / 3, "valid")
    bends = np.abs(np.diff(smooth))
    return alike.mean() >= 0.75 and np.median(bends) <= 0.2 and float(np.std(levels)) <= spread


def _extended(line: np.ndarray) -> np.ndarray:
    """The line with the dots that it misses at its ends and between its points."""
    steps = np.diff(line, axis=0)
    usual = np.median(np.hypot(*steps.T))
    between = [line[:1]]
    for start, step in zip(line, steps, strict=False):
        count = max(1, round(float(np.hypot(*step)) / usual))
        between.append(start + step * (np.arange(1, count + 1) / count)[:, None])
    few = min(4, len(steps))
    before, after = (line[0] - line[few]) / few, (line[-1] - line[-1 - few]) / few
    beyond = np.arange(1, 4)[:, None]
    return np.concatenate([line[0] + before * beyond, *between, line[-1] + after * beyond])


def _mark(marks: np.ndarray, line: np.ndarray, thin: np.ndarray) -> None:
    """Mark the dots of a line: what stands out, not much less than they usually do, where they are expected."""
    places = np.rint(line).astype(int)
    within = ((places >= 1) & (places < np.array(thin.shape[::-1]) - 1)).all(1)
    windows = [np.s_[y - 1 : y + 2, x - 1 : x + 2] for x, y in places[within]]
    usual = float(np.median([thin[window].max() for window in windows])) if windows else 0.0
    for window in windows:
        marks[window] |= thin[window] >= max(_FAINT_DOT, 0.4 * usual)


@dataclass(frozen=True)
class _Cross:
    x: int
    y: int
    arm: int
    slanted: bool
    level: int


def _crosses(grey: np.ndarray, thin: np.ndarray, fan: np.ndarray) -> list[_Cross]:
    """Crosses of thin arms, upright or slanted: every pixel of four arms is bright, what lies between them is not."""
    found: list[_Cross] = []
    for slanted in (False, True):
        least = cv2.erode(thin, _arms(_ARMS[0], slanted), borderType=cv2.BORDER_CONSTANT, borderValue=0)
        peaks = (least >= _ARM_LEVELS) & (least == cv2.dilate(least, np.ones((5, 5), np.uint8))) & fan
        for y, x in zip(*np.nonzero(peaks), strict=True):
            cross = _cross_at(grey, int(x), int(y), slanted)
            if cross is not None and all(max(abs(cross.x - c.x), abs(cross.y - c.y)) > 4 for c in found):
                found.append(cross)
    return found


def _arms(arm: int, slanted: bool) -> np.ndarray:
    """(2 arm + 1, 2 arm + 1) uint8, 1 on the arms."""
    kernel, line = np.zeros((2 * arm + 1, 2 * arm + 1), np.uint8), np.arange(2 * arm + 1)
    if slanted:
        kernel[line, line] = kernel[line, line[::-1]] = 1
    else:
        kernel[arm] = kernel[:, arm] = 1
    return kernel


def _cross_at(grey: np.ndarray, x: int, y: int, slanted: bool) -> _Cross | None:
    """The longest cross around a point whose arms stand out from what lies between them, None without one."""
    best = None
    for arm in _ARMS:
        if not (arm <= x < grey.shape[1] - arm and arm <= y < grey.shape[0] - arm):
            break
        window = grey[y - arm : y + arm + 1, x - arm : x + arm + 1]
        arms = _arms(arm, slanted)
        between = cv2.dilate(arms, _PLUS if slanted else np.ones((3, 3), np.uint8)) == 0
        low, high = int(window[arms > 0].min()), int(window[arms > 0].max())
        if low - float(np.percentile(window[between], 85)) < _CROSS_LEVELS or high - low > _LEVEL:
            break
        best = _Cross(x, y, arm, slanted, int(np.median(window[arms > 0])))
    return best


_PLUS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def _draw(marks: np.ndarray, cross: _Cross, grey: np.ndarray) -> None:
    """Mark a cross to the ends of its arms, and a digit at its corner."""
    for dx, dy in ((1, 1), (1, -1), (-1, 1), (-1, -1)) if cross.slanted else ((1, 0), (-1, 0), (0, 1), (0, -1)):
        for length in range(12):
            x, y = cross.x + dx * length, cross.y + dy * length
            if not (0 <= y < grey.shape[0] and 0 <= x < grey.shape[1]):
                break
            if length > cross.arm and grey[y, x] < 0.7 * cross.level:
                break
            marks[y, x] = True
    x0, y0 = max(0, cross.x - _DIGIT_REACH), max(0, cross.y - _DIGIT_REACH)
    around = np.s_[y0 : cross.y + _DIGIT_REACH, x0 : cross.x + _DIGIT_REACH]
    window = grey[around]
    ground = cv2.medianBlur(np.ascontiguousarray(window), 15)
    bright = (window.astype(int) - ground > 0.55 * (cross.level - ground.astype(int))) & (window > 0.6 * cross.level)
    bright &= ~marks[around]
    _, _, stats, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=8)
    for index in range(1, len(stats)):
        x, y, width, height, area = stats[index]
        if _DIGIT[0] <= height <= _DIGIT[1] and 1 <= width <= height and area <= 0.75 * width * height:
            # The whole of its box: compression takes thin strokes away, and what is left of them is still a digit.
            marks[around][max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1] = True
