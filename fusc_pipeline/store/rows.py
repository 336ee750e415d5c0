"""Rows of a Parquet table by image, in any order, with few of its row groups in memory. No dagster.

What makes a table that grew equal, byte for byte, to one made at once: both are written image by image in the same
order, in row groups of the same size, wherever the rows come from.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import pyarrow.parquet as pq

IMAGES_PER_GROUP = 64
_GROUPS_HELD = 4  # tables whose orders agree, but for what is between, need one row group at a time

Held = dict[tuple[Path, int], pa.Table]
"""Row groups in memory, the one read last at the end."""


class ImageRows:
    """The rows of a Parquet file of which each has an `image_id`. No file stays open.

    held: shared by tables that are read together, so that few row groups of all of them are in memory.
    """

    def __init__(self, path: Path, held: Held | None = None):
        self._path = path
        self._held = {} if held is None else held
        self._groups: dict[str, list[int]] = {}
        with _opened(path) as file:
            self._schema = file.schema_arrow
            for number in range(file.num_row_groups):
                ids = file.read_row_group(number, columns=["image_id"]).column(0)
                for image_id in ids.unique().to_pylist():
                    self._groups.setdefault(image_id, []).append(number)

    def take(self, image_ids: Sequence[str]) -> pa.Table:
        """The rows of these images, image by image in this order. Raises KeyError for an image that is not there."""
        import pyarrow.compute as pc

        numbers = sorted({number for image_id in image_ids for number in self._groups[image_id]})
        wanted = pa.array(image_ids, pa.string())
        pieces = [piece.filter(pc.is_in(piece.column("image_id"), wanted)) for piece in map(self._group, numbers)]
        return in_order(pa.concat_tables([self._schema.empty_table(), *pieces]), image_ids)

    def _group(self, number: int) -> pa.Table:
        key = (self._path, number)
        if key not in self._held:
            while len(self._held) >= _GROUPS_HELD:
                self._held.pop(next(iter(self._held)))
            with _opened(self._path) as file:
                self._held[key] = file.read_row_group(number)
        return self._held[key]


def _opened(path: Path) -> "pq.ParquetFile":
    import pyarrow.parquet as pq

    return pq.ParquetFile(path)


def in_order(table: pa.Table, image_ids: Iterable[str]) -> pa.Table:
    """The rows of the table by image, in the order of `image_ids`; rows of one image keep theirs."""
    places: dict[str, list[int]] = {}
    for place, image_id in enumerate(table.column("image_id").to_pylist()):
        places.setdefault(image_id, []).append(place)
    return table.take(pa.array([place for image_id in image_ids for place in places[image_id]], pa.int64()))


def in_groups(items: Iterable, size: int = IMAGES_PER_GROUP) -> Iterator[list]:
    """Lists of `size` items, the last one shorter; one empty list where there is none."""
    stream = iter(items)
    first = list(itertools.islice(stream, size))
    yield first
    while group := list(itertools.islice(stream, size)):
        yield group
