"""The Parquet IO manager: upstream tables arrive as handles that read when asked; a plain asset may return a table.

The project's own assets write through the store inside the asset (they need the cache decision before the work) and
return no value, so for them only `load_input` runs. `handle_output` serves assets that simply return a table.
"""

from dataclasses import dataclass

import dagster as dg
import pyarrow as pa

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.store.store import Recipe, Store


@dataclass(frozen=True)
class TableHandle:
    """An upstream table that is not read yet. Assets take it as a parameter; a cache hit then costs no reading."""

    store: Store
    asset: str
    partition: str | None = None

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """The table, or some of its columns. Raises BadInput when it is missing or does not fit its schema."""
        return self.store.table(self.asset, self.partition, columns)


class ParquetIOManager(dg.IOManager):
    """Tables in the store, one per asset and partition; schemas are enforced on write and on read."""

    def __init__(self, store: Store):
        self._store = store

    def load_input(self, context: dg.InputContext):
        """A TableHandle of the upstream table; for several partitions, a dict of them by key."""
        asset = _name(context.asset_key)
        if not context.has_asset_partitions:
            return TableHandle(self._store, asset)
        keys = list(context.asset_partition_keys)
        if len(keys) == 1:
            return TableHandle(self._store, asset, keys[0])
        return {key: TableHandle(self._store, asset, key) for key in keys}

    def handle_output(self, context: dg.OutputContext, obj: pa.Table) -> None:
        """Publish a returned pyarrow table as a new version; raises BadInput for anything else."""
        asset = _name(context.asset_key)
        if not isinstance(obj, pa.Table):
            raise BadInput(f"asset {asset!r} returned {type(obj).__name__}; return a pyarrow.Table or use the store")
        partition = context.asset_partition_key if context.has_asset_partitions else None
        # A returned table has no declared recipe, so every run is its own version.
        with self._store.write(asset, partition, Recipe(code_version=context.run_id), {}) as draft:
            rows = draft.write_table(obj)
        context.add_output_metadata({"dagster/row_count": rows})


def _name(key: dg.AssetKey) -> str:
    return key.to_user_string()
