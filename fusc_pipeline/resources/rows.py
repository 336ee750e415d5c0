"""Rows of a Parquet table by image, in any order, with few of its row groups in memory. No dagster.

What makes a table that grew equal, byte for byte, to one made at once: both are written image by image in the same
order, in row groups of the same size, wherever the rows come from.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

IMAGES_PER_GROUP = 64
_GROUPS_HELD = 2  # tables whose orders agree, but for what is between, need one row group at a time


class ImageRows:
    """The rows of a Parquet file of which each has an `image_id`."""

    def __init__(self, path: Path):
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        self._groups: dict[str, list[int]] = {}
        self._held: dict[int, pa.Table] = {}
        for number in range(self._file.num_row_groups):
            for image_id in self._file.read_row_group(number, columns=["image_id"]).column(0).unique().to_pylist():
                self._groups.setdefault(image_id, []).append(number)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._groups

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def take(self, image_ids: Sequence[str]) -> pa.Table:
        """The rows of these images, image by image in this order. Raises KeyError for an image that is not there."""
        import pyarrow.compute as pc

        numbers = sorted({number for image_id in image_ids for number in self._groups[image_id]})
        wanted = pa.array(image_ids, pa.string())
        pieces = [piece.filter(pc.is_in(piece.column("image_id"), wanted)) for piece in map(self._group, numbers)]
        if not pieces:
            return self._file.schema_arrow.empty_table()
        return in_order(pa.concat_tables(pieces), image_ids)

    def close(self) -> None:
        self._file.close()

    def _group(self, number: int) -> pa.Table:
        if number not in self._held:
            while len(self._held) >= _GROUPS_HELD:
                self._held.pop(next(iter(self._held)))
            self._held[number] = self._file.read_row_group(number)
        return self._held[number]


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
