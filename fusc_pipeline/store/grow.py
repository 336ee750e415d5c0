"""Per-image work that is never done twice: a grown batch computes its new images only, a frame that another batch
brought before is taken from there, a killed run continues.

Rows are kept from the version in use, from those of other batches, and from the parts a killed run left in the draft's
work folder; all by the same recipe, and each only for an image whose basis is the same. Each version says which images
it holds on which basis, in a small table of its own beside the rows (the manifest).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fusc_pipeline.host.atomic import whole_file
from fusc_pipeline.store.rows import Held, ImageRows, in_groups, in_order
from fusc_pipeline.store.store import Draft, Store

log = logging.getLogger(__name__)
MOST_PART_IMAGES = 32  # images per part at most: a part is a file, and a large batch should not have thousands
PARTS = 40  # parts a small batch has at least, as far as it has images: a kill costs a fortieth and what was in flight
MANIFEST = "images.parquet"  # image_id and basis of each image, in the table's order
_MANIFEST = pa.schema([pa.field("image_id", pa.string(), False), pa.field("basis", pa.string(), False)])
_BASIS = "_basis"  # column of a part

Facts = Mapping[str, Mapping[str, object]]
"""image_id -> column -> value: what a row says of this batch's delivery, not of the picture."""


@dataclass(frozen=True)
class Grown:
    """Images computed by this run, kept from this batch's earlier versions, and taken over from other batches."""

    computed: int
    kept: int
    from_other_batches: int


def grow_table(
    store: Store,
    draft: Draft,
    asset: str,
    partition: str,
    recipe: str,
    schema: pa.Schema,
    wanted: list[str],
    compute: Callable[[list[str]], Iterator[tuple[str, list[dict]]]],
    *,
    basis: Mapping[str, str] | None = None,
    facts: Facts | None = None,
    afresh: bool = False,
) -> Grown:
    """Write the asset's table for the `wanted` image_ids, in their order, computing only those without kept rows.

    `compute` takes the ids to do and yields (image_id, rows) in that order; every image gives at least one row. basis:
    for each image, in a few words or a hash, what decides its rows beside its pixels and the recipe; None: nothing
    does. facts: columns that are this batch's own, put into every kept row. afresh: keep nothing of any version (the
    asset's `force`), only what a killed run left.
    """
    basis = basis or dict.fromkeys(wanted, "")
    kept = _Kept(basis, list(wanted))
    for part in _parts(draft.work):
        if (source := _part_left(part)) is not None:
            kept.use(source)
    if not afresh and store.same_recipe(asset, partition, recipe):
        kept.use(_version(store, asset, partition))
    own = len(wanted) - len(kept.todo)
    for other in () if afresh else store.partitions(asset):
        if kept.todo and other != partition:
            kept.use_batch(store, asset, other, recipe)
    todo = kept.todo
    for part in _write_parts(draft.work, schema, compute(todo), part_images(len(todo)), basis):
        kept.use(_part(part))
    draft.write_table(kept.rows(group, schema, facts) for group in in_groups(wanted))
    write_manifest(draft.path(MANIFEST), wanted, basis)
    return Grown(len(todo), own, len(wanted) - own - len(todo))


def basis_of(store: Store, asset: str, partition: str) -> dict[str, str]:
    """image_id -> what decided its rows in the version in use: a basis for what is made of these."""
    return dict(_version(store, asset, partition).basis)


def part_images(todo: int) -> int:
    """Images per part when `todo` images are to be computed: what a kill can cost at most."""
    return min(MOST_PART_IMAGES, max(1, todo // PARTS))


def image_ids(table: pa.Table) -> set[str]:
    """The distinct image_ids of a table."""
    return set(table.column("image_id").to_pylist())


@dataclass(frozen=True)
class _Source:
    """A file of rows, and the basis of each image in it."""

    path: Path
    basis: Mapping[str, str]


class _Kept:
    """What is taken from where; `todo` is left to compute."""

    def __init__(self, basis: Mapping[str, str], todo: list[str]):
        self._basis = basis
        self.todo = todo
        self._where: dict[str, ImageRows] = {}
        self._held: Held = {}

    def use(self, source: _Source) -> None:
        """Take what is still to do and is there on the same basis."""
        usable = self._usable(source)
        if usable:
            self._where |= dict.fromkeys(usable, ImageRows(source.path, self._held))
            self.todo = [image_id for image_id in self.todo if image_id not in self._where]

    def use_batch(self, store: Store, asset: str, batch: str, recipe: str) -> None:
        """Take from another batch's version; its files are hashed only when they give rows."""
        record = store.record(asset, batch)
        if record is None or record.recipe != recipe or MANIFEST not in record.files:
            return
        source = _version(store, asset, batch)
        if self._usable(source) and store.same_recipe(asset, batch, recipe):
            self.use(source)

    def rows(self, group: list[str], schema: pa.Schema, facts: Facts | None) -> pa.Table:
        """The rows of these images, in this order, with this batch's facts."""
        chosen: dict[ImageRows, list[str]] = {}
        for image_id in group:
            chosen.setdefault(self._where[image_id], []).append(image_id)
        tables = [rows.take(ids).select(schema.names) for rows, ids in chosen.items()]
        table = pa.concat_tables(
            [schema.empty_table(), *(pa.Table.from_arrays(t.columns, schema=schema) for t in tables)]
        )
        table = in_order(table, group)
        known = facts or {}
        for name in next(iter(known.values()), {}):
            values = [known[image_id][name] for image_id in table.column("image_id").to_pylist()]
            field = schema.field(name)
            table = table.set_column(schema.get_field_index(name), field, pa.array(values, field.type))
        return table.combine_chunks()

    def _usable(self, source: _Source) -> list[str]:
        return [image_id for image_id in self.todo if source.basis.get(image_id) == self._basis[image_id]]


def _version(store: Store, asset: str, partition: str) -> _Source:
    """The version in use. One of an earlier release has no manifest; it was made when nothing but pixels decided."""
    import pyarrow.parquet as pq

    folder = store.folder(asset, partition)
    if (folder / MANIFEST).exists():
        return _Source(folder / "table.parquet", _manifest(folder / MANIFEST))
    held = pq.read_table(folder / "table.parquet", columns=["image_id"])
    return _Source(folder / "table.parquet", dict.fromkeys(image_ids(held), ""))


def _part(path: Path) -> _Source:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = [name for name in ("image_id", _BASIS) if name in file.schema_arrow.names]
        columns = file.read(names).to_pydict()
    ids = columns["image_id"]  # a part of an earlier release has no basis: nothing but pixels decided then
    return _Source(path, dict(zip(ids, columns.get(_BASIS, [""] * len(ids)), strict=True)))


def _part_left(path: Path) -> _Source | None:
    """As `_part`, of a killed run's; None, and it is dropped, where a power loss cut it short."""
    try:
        return _part(path)
    except (pa.ArrowInvalid, OSError) as damage:
        log.warning("%s is damaged (%s); its images are computed again", path.name, type(damage).__name__)
        path.unlink(missing_ok=True)
        return None


def _manifest(path: Path) -> dict[str, str]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read()
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))


def write_manifest(path: Path, wanted: list[str], basis: Mapping[str, str]) -> None:
    import pyarrow.parquet as pq

    table = pa.table([wanted, [basis[image_id] for image_id in wanted]], schema=_MANIFEST)
    pq.write_table(table, path, compression="zstd")


def _parts(work: Path) -> list[Path]:
    return sorted(work.glob("part-*.parquet"))


def _write_parts(
    work: Path,
    schema: pa.Schema,
    results: Iterable[tuple[str, list[dict]]],
    size: int,
    basis: Mapping[str, str],
) -> list[Path]:
    """Write what is computed, `size` images a file; returns the files."""
    number = 1 + max((int(path.stem.rpartition("-")[2]) for path in _parts(work)), default=-1)
    written: list[Path] = []
    for group in in_groups(results, size):
        rows = [row for _, image_rows in group for row in image_rows]
        if rows:
            path = work / f"part-{number + len(written):06d}.parquet"
            _write_part(path, schema, rows, basis)
            written.append(path)
    return written


def _write_part(path: Path, schema: pa.Schema, rows: list[dict], basis: Mapping[str, str]) -> None:
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows, schema=schema)
    table = table.append_column(_BASIS, pa.array([basis[row["image_id"]] for row in rows], pa.string()))
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
