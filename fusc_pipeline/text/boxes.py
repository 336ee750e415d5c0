"""Plain geometry of boxes (x0, y0, x1, y1), right and bottom exclusive. What stands in them is not known here."""

from collections.abc import Iterable

Box = tuple[int, int, int, int]


def area(box: Box) -> int:
    """Pixels in a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def around(one: Box, other: Box) -> Box:
    """The smallest box that holds both."""
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def mostly_covered(box: Box, others: Iterable[Box], share: float = 0.5) -> bool:
    """Whether this share of a box or more lies under the others, which are taken not to overlap much."""
    covered = 0
    for other in others:
        overlap_x = min(box[2], other[2]) - max(box[0], other[0])
        overlap_y = min(box[3], other[3]) - max(box[1], other[1])
        covered += max(0, overlap_x) * max(0, overlap_y)
    return covered >= share * area(box)
