"""The ultrasound region and scale by DICOM's Sequence of Ultrasound Regions (PS3.3 C.8.5.5). No pixels here."""

import math

from pydicom.dataset import Dataset

from fusc_pipeline.scans.frames import Box

_SPATIAL_FORMAT_2D = 1
_TISSUE, _COLOUR_FLOW = 1, 2
_CENTIMETRES = 3
_MIN_SIDE = 16
# How far a region may reach over the frame (as a share of its side) and still be meant for this frame. Some writers
# count the last pixel as exclusive; a copy that was scaled or cropped keeps the regions of the original.
_OVERHANG = 0.02


def region_from_dicom(header: Dataset, shape: tuple[int, int]) -> Box | None:
    """The largest 2D tissue (or colour flow) region within a frame of `shape` (height, width), or None.

    Wave forms, electrocardiogram strips and grey bars are regions too and are passed over. Of a dual image the larger
    half is taken: a frame is one view. None also when the region was written for a frame of another size.
    """
    best = _best_item(header, shape)
    return None if best is None else best[0]


def mm_per_px_from_dicom(header: Dataset, shape: tuple[int, int]) -> float | None:
    """Millimetres per pixel of that region; None without centimetres, or when pixels are not square within 2 %."""
    best = _best_item(header, shape)
    if best is None:
        return None
    item = best[1]
    if any(_number(item, f"PhysicalUnits{axis}Direction") != _CENTIMETRES for axis in "XY"):
        return None
    across, down = (abs(_number(item, f"PhysicalDelta{axis}") or 0.0) * 10 for axis in "XY")
    if not (0 < across < 10 and 0 < down < 10) or abs(across - down) > 0.02 * across:
        return None
    return across


def picture_boxes(header: Dataset, shape: tuple[int, int]) -> list[Box]:
    """All 2D tissue and colour flow regions within the frame, the largest first."""
    return [box for box, _ in _picture_items(header, shape)]


def region_kinds(header: Dataset, shape: tuple[int, int]) -> set[tuple[int, int]]:
    """(Region Spatial Format, Region Data Type) of every region within the frame, pictures or not; -1: not given."""
    kinds: set[tuple[int, int]] = set()
    for item in header.get("SequenceOfUltrasoundRegions") or []:
        if _clipped(item, shape) is not None:
            numbers = (_number(item, name) for name in ("RegionSpatialFormat", "RegionDataType"))
            spatial, data = (-1 if number is None else int(number) for number in numbers)
            kinds.add((spatial, data))
    return kinds


def _best_item(header: Dataset, shape: tuple[int, int]) -> tuple[Box, Dataset] | None:
    return next(iter(_picture_items(header, shape)), None)


def _picture_items(header: Dataset, shape: tuple[int, int]) -> list[tuple[Box, Dataset]]:
    found = []
    for item in header.get("SequenceOfUltrasoundRegions") or []:
        if _number(item, "RegionSpatialFormat") != _SPATIAL_FORMAT_2D:
            continue
        if _number(item, "RegionDataType") not in (_TISSUE, _COLOUR_FLOW):
            continue
        box = _clipped(item, shape)
        if box is not None:
            found.append((box, item))
    return sorted(found, key=lambda pair: -_area(pair[0]))


def _clipped(item: Dataset, shape: tuple[int, int]) -> Box | None:
    height, width = shape
    names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    corners = [corner for name in names if (corner := _number(item, f"RegionLocation{name}")) is not None]
    if len(corners) < len(names):
        return None
    x0, y0, x1, y1 = map(int, corners)
    if x1 + 1 > width * (1 + _OVERHANG) + 1 or y1 + 1 > height * (1 + _OVERHANG) + 1:
        return None
    # DICOM's last row and column belong to the region; a box's do not.
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1 + 1, width), min(y1 + 1, height)
    return (x0, y0, x1, y1) if x1 - x0 >= _MIN_SIDE and y1 - y0 >= _MIN_SIDE else None


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _number(item: Dataset, keyword: str) -> float | None:
    """A numeric attribute as a finite float, or None when it is missing or no number."""
    value = item.get(keyword)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
