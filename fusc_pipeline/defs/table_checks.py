"""Checks that are the same for every table: columns as declared, nothing empty that must be there, rows told apart.

Generated from `schemas.TABLES`, so a new table is checked without a line here, unless its rows have another key.
"""

import pyarrow as pa

from fusc_pipeline.base import schemas
from fusc_pipeline.defs.engine.check import Check, CheckedVersion, Finding, check, finding

# What tells a table's rows apart, where it is not the image alone; (): nothing does.
_KEYS: dict[str, tuple[str, ...]] = {
    "rejected_scans": (),
    "burned_in_text": ("image_id", "word"),
    "purity_report": ("model", "n_clusters", "seed", "split", "label_set"),
    "cluster_composition": ("model", "n_clusters", "seed", "cluster", "rank"),
    "external_purity": ("scan_batch", "model", "n_clusters", "seed"),
    "inpainting_audit": ("measure", "by"),
    "label_audit": ("image_id", "sample", "reviewer"),
}
# Columns that are large and told apart by nothing; whether they are there, the asset's own checks say.
_HEAVY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_struct, pa.types.is_list)


def key_of(asset: str) -> tuple[str, ...]:
    """The columns that tell the rows of an asset's table apart; () where nothing does."""
    if asset in _KEYS:
        return _KEYS[asset]
    schema = schemas.TABLES[asset]
    if schema is schemas.CLUSTERS:
        return ("n_clusters", "seed", "image_id")
    return ("image_id",) if "image_id" in schema.names else ()


def _table_is_sound(asset: str) -> Check:
    schema, key = schemas.TABLES[asset], key_of(asset)
    light = [f.name for f in schema if not any(heavy(f.type) for heavy in _HEAVY)]

    @check(asset, name="table_is_sound", blocking=True)
    def judge(made: CheckedVersion) -> Finding:
        """The table has its columns, no value is missing where one must be, and no row is there twice."""
        table = made.table(light)  # refused when the columns are not those of the schema
        empty = {f.name: table.column(f.name).null_count for f in schema if f.name in light and not f.nullable}
        wrong = [f"{name} is empty in {count} rows" for name, count in empty.items() if count]
        again = table.num_rows - table.group_by(list(key)).aggregate([]).num_rows if key else 0
        if again:
            wrong.append(f"{again} rows are there twice (by {', '.join(key)})")
        return finding(
            not wrong,
            f"{'; '.join(wrong)}. The table was damaged, or made by a faulty release: materialise {asset} with force.",
            rows=table.num_rows,
        )

    return judge


tables_are_sound = [_table_is_sound(asset) for asset in schemas.TABLES]
