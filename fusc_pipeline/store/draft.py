"""A version while it is written: what an asset is given to put its files into. Publishing it is the store's part."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.store.records import Recipe

TABLE = "table.parquet"


class Draft:
    """A version being written: a hidden folder that either becomes the version whole or disappears."""

    def __init__(self, folder: Path, recipe: Recipe, work: Path, schema: pa.Schema | None, asset: str):
        self.folder = folder
        self.recipe = recipe
        self.work = work  # survives a kill; shared by all attempts at this recipe
        self.metadata: dict[str, Any] = {}
        self.told: dict[str, str] = {}
        self._schema = schema
        self._asset = asset

    def path(self, name: str) -> Path:
        """Where to write the file `name` of this version."""
        return self.folder / name

    def tells(self, name: str, what: Any) -> None:
        """Let the data version take `what` the file `name` tells, as JSON, in place of its bytes: for a file in which
        times stand, so that two runs of the same give the same version."""
        self.told[name] = digest(what)

    def write_table(self, rows: pa.Table | Iterable[pa.Table], name: str = TABLE) -> int:
        """Write a table, or a stream of tables (one row group each), as Parquet; returns the row count.

        Raises BadInput when the columns differ from the asset's schema: nothing is cast silently.
        """
        import pyarrow.parquet as pq

        tables = [rows] if isinstance(rows, pa.Table) else rows
        schema = self._schema
        if schema is None:
            raise BadSetting(f"asset {self._asset!r} has no schema: add one to fusc_pipeline.base.schemas.TABLES")
        count = 0
        with pq.ParquetWriter(self.path(name), schema, compression="zstd") as writer:
            for table in tables:
                check_schema(table.schema, schema, self._asset)
                # equal in names and types; this only attaches the columns' comments
                writer.write_table(pa.Table.from_arrays(table.columns, schema=schema))
                count += table.num_rows
        return count


def check_schema(found: pa.Schema, expected: pa.Schema, what: str) -> None:
    """Raise BadInput naming the columns that are missing, unknown or of another type."""
    want = {f.name: f.type for f in expected}
    have = {f.name: f.type for f in found}
    wrong = [f"{n}: {have[n]} instead of {want[n]}" for n in want if n in have and not have[n].equals(want[n])]
    problems = [f"missing {sorted(set(want) - set(have))}"] * (not set(want) <= set(have))
    problems += [f"unknown {sorted(set(have) - set(want))}"] * (not set(have) <= set(want))
    problems += [f"wrong type {wrong}"] * bool(wrong)
    problems += ["columns in another order"] * (not problems and list(have) != list(want))
    if problems:
        raise BadInput(f"{what}: the table does not fit its schema: {'; '.join(problems)}; materialise it again")
