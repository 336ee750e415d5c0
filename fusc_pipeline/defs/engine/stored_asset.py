"""Declares an asset of the store: what every one of them tells Dagster is said here, once."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dagster as dg

from fusc_pipeline.base.schemas import TABLES
from fusc_pipeline.defs.engine.config_fields import AssetConfig
from fusc_pipeline.defs.engine.gpu import GPU_OP
from fusc_pipeline.defs.engine.materialize import materialize
from fusc_pipeline.defs.engine.partitions import scan_batches
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.defs.engine.work import Request, Stored, Work, declare
from fusc_pipeline.store.store import Store


def stored_asset(
    *,
    group: str,
    kinds: Iterable[str],
    code_version: str,
    name: str = "",
    deps: Sequence[str] = (),
    per_batch: bool = False,
    gpu: bool = False,
    description: str = "",
    config_class: type[AssetConfig] | None = None,
    around: Callable[[Request, Store], Any] | None = None,
    after: Callable[[Request, Store], None] | None = None,
) -> Callable[[Callable[[Request, Any, Store], Work]], dg.AssetsDefinition]:
    """Declare an asset by a function `(context: Request, config: …Config, store: Store) -> Work`.

    The annotation of `config` is the asset's config schema, or `config_class` where that is decided as it is declared.
    The function's name and docstring are the asset's where `name` and `description` are empty; the columns are those of
    `schemas.TABLES`. gpu: it takes a slot of the pool and a device. around, after: see `Stored`.
    """

    def declared(work: Callable[[Request, Any, Store], Work]) -> dg.AssetsDefinition:
        asset_name = name or work.__name__
        kind: Any = config_class or inspect.get_annotations(work)["config"]
        one = Stored(asset_name, work, kind, tuple(deps), per_batch, code_version, around, after)
        declare(one)
        how: dict[str, Any] = GPU_OP if gpu else {}

        @dg.asset(
            name=asset_name,
            deps=list(deps),
            group_name=group,
            kinds=set(kinds),
            code_version=code_version,
            metadata=column_schema(asset_name) if asset_name in TABLES else None,
            partitions_def=scan_batches if per_batch else None,
            description=description or inspect.getdoc(work),
            **how,
        )
        def asset(
            context: dg.AssetExecutionContext,
            config: kind,
            store: StoreResource,
        ) -> dg.MaterializeResult:
            return materialize(one, context, config, store.get())

        return asset

    return declared


def column_schema(asset: str) -> dict[str, Any]:
    """Definition-time metadata: the Columns tab of the UI, before the first run."""
    columns = [
        dg.TableColumn(
            name=f.name,
            type=str(f.type),
            description=(f.metadata or {}).get(b"comment", b"").decode(),
            constraints=dg.TableColumnConstraints(nullable=f.nullable),
        )
        for f in TABLES[asset]
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}
