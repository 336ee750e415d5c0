"""Per-image work that is never done twice: a grown batch computes its new images only, a killed run continues.

Rows are kept from two places: the version in use, when the same recipe made it, and the parts a killed run left in the
draft's work folder. Both hold rows keyed by `image_id`.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from fusc_pipeline.resources.store import Draft, Store

MOST_PART_IMAGES = 32  # images per part at most: a part is a file, and a large batch should not have thousands
PARTS = 40  # parts a small batch has at least, as far as it has images: a kill costs a fortieth and what was in flight


def grow_table(
    store: Store,
    draft: Draft,
    asset: str,
    partition: str,
    recipe: str,
    schema: pa.Schema,
    wanted: list[str],
    compute: Callable[[list[str]], Iterator[tuple[str, list[dict]]]],
) -> tuple[int, int]:
    """Write the asset's table for the `wanted` image_ids, computing only those without kept rows.

    `compute` takes the ids to do and yields (image_id, rows) in that order; every image gives at least one row.
    Returns (images computed by this run, images kept).
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    previous = store.same_recipe(asset, partition, recipe)
    kept = image_ids(store.table(asset, partition, ["image_id"])) if previous else set()
    resumed: set[str] = set()
    for part in _parts(draft.work):
        resumed |= image_ids(pq.read_table(part, columns=["image_id"]))
    have = kept | resumed
    todo = [i for i in wanted if i not in have]
    _write_parts(draft.work, schema, compute(todo), part_images(len(todo)))

    def pieces() -> Iterator[pa.Table]:
        keep = pa.array(wanted, pa.string())
        written: set[str] = set()
        if previous:
            for batch in store.dataset(asset, partition).to_batches(filter=pc.field("image_id").isin(keep)):
                written |= set(batch.column("image_id").to_pylist())
                yield pa.Table.from_batches([batch])
        for part in _parts(draft.work):
            table = pq.read_table(part, schema=schema)
            mask = [i not in written for i in table.column("image_id").to_pylist()]
            table = table.filter(pa.array(mask)).filter(pc.field("image_id").isin(keep))
            written |= image_ids(table)
            yield table

    draft.write_table(pieces())
    return len(todo), len(wanted) - len(todo)


def part_images(todo: int) -> int:
    """Images per part when `todo` images are to be computed: what a kill can cost at most."""
    return min(MOST_PART_IMAGES, max(1, todo // PARTS))


def image_ids(table: pa.Table) -> set[str]:
    """The distinct image_ids of a table."""
    return set(table.column("image_id").to_pylist())


def _parts(work: Path) -> list[Path]:
    return sorted(work.glob("part-*.parquet"))


def _write_parts(work: Path, schema: pa.Schema, results: Iterable[tuple[str, list[dict]]], size: int) -> None:
    number = len(_parts(work))
    rows: list[dict] = []
    images = 0
    for _, image_rows in results:
        rows += image_rows
        images += 1
        if images == size:
            _write_part(work / f"part-{number:06d}.parquet", schema, rows)
            number, rows, images = number + 1, [], 0
    if rows:
        _write_part(work / f"part-{number:06d}.parquet", schema, rows)


def _write_part(path: Path, schema: pa.Schema, rows: list[dict]) -> None:
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
    os.replace(temporary, path)
