"""How every asset materialises: decide by fingerprint whether there is work, do it, publish it whole, describe it.

No asset logic lives here, only what all of them share.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.defs.engine.begin_step import begin_step
from fusc_pipeline.defs.engine.failures import full_disk, refusals, retried
from fusc_pipeline.defs.engine.gpu import device_of
from fusc_pipeline.defs.engine.planning import Plan, PlanContext, Planned
from fusc_pipeline.defs.engine.preview import add_preview
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.leftovers import clear_slot
from fusc_pipeline.store.store import WHOLE, Draft, Recipe, Record, Store
from fusc_pipeline.store.whole import gone, require_whole


class AssetConfig(dg.Config):
    """What every asset's config has. Fields marked runtime change how the work is done, not what comes out."""

    force: bool = Field(
        default=False,
        description="Make it again even when an output with this fingerprint exists.",
        json_schema_extra={"runtime": True},
    )

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the result: what goes into the fingerprint."""
        return _deciding(self)

    def devices(self) -> int:
        """Devices that a GPU op takes at once; 0: every visible one."""
        return 1


def _deciding(config: dg.Config) -> dict[str, Any]:
    fields = type(config).model_fields
    rules = {n: fields[n].json_schema_extra or {} for n in fields}
    kept = {n: getattr(config, n) for n in fields if not rules[n].get("runtime")}
    # A field that came later is left out at its default, so that what was made before it is still fresh.
    kept = {n: value for n, value in kept.items() if not rules[n].get("later") or value != fields[n].default}
    return {n: _deciding(value) if isinstance(value, dg.Config) else value for n, value in kept.items()}


class ParallelConfig(AssetConfig):
    """For assets whose work is spread over processes on this machine."""

    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Worker processes; 0: one per core this process may use.",
        json_schema_extra={"runtime": True},
    )


def column_schema(asset: str) -> dict[str, Any]:
    """Definition-time metadata: the Columns tab of the UI, before the first run."""
    from fusc_pipeline.base.schemas import TABLES

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


def materialize(
    context: dg.AssetExecutionContext,
    store: Store,
    config: AssetConfig,
    produce: Callable[[Draft], None],
    *,
    upstream: Sequence[str] = (),
    inputs: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    holds: Callable[[], Sequence[str]] | Sequence[str] = (TABLE,),
    model: bool = False,
    incremental: bool = False,
) -> dg.MaterializeResult:
    """Return at once when an output with the same fingerprint stands; else run `produce` on a draft and publish it.

    `upstream` names assets whose data versions are inputs (of this partition where they have it); `inputs` adds
    others; `extra` is what else decides the result (engine, weights); `model` and `incremental`: see
    `Store.write`. `produce` writes files and `draft.metadata`. `holds` declares the files without which the output is
    no whole one, as far as they are known beforehand; a function where that takes the inputs. One that lacks any is
    made again, and nothing is published without them.
    How a failure is told, and whether it is retried: see `failures`.
    """
    asset = context.asset_key.to_user_string()
    partition = context.partition_key if context.assets_def.partitions_def is not None else None

    def decide() -> Plan:
        versions = {name: upstream_version(store, name, partition) for name in upstream}
        code_version = context.assets_def.code_versions_by_key[context.asset_key] or ""
        names = holds() if callable(holds) else holds
        return Plan(Recipe(code_version, config.deciding(), extra or {}), {**versions, **(inputs or {})}, tuple(names))

    if isinstance(context, PlanContext):
        raise Planned(decide())
    begin_step(context)
    with (
        retried(context),
        refusals(discreet=asset in PARTITIONED, private=store.private),
        full_disk(asset, store),
    ):
        plan = decide()
        if found := None if config.force else store.find(asset, partition, plan.fingerprint, plan.holds):
            return _unchanged(context, store, found)
        with store.alone(asset, partition, waiting=context.log.info):
            # Whoever was at it before may have made the very same, or was killed with the good version put aside.
            if not config.force and (found := store.find(asset, partition, plan.fingerprint, plan.holds)):
                return _unchanged(context, store, found)
            if found := store.damaged(asset, partition, plan.fingerprint, plan.holds):
                context.log.warning(f"{asset}: {gone(found)}, so the output is made again")
            how = {"model": model, "incremental": incremental, "holds": plan.holds}
            with device_of(context, config), store.write(asset, partition, plan.recipe, plan.inputs, **how) as draft:
                produce(draft)
                add_preview(draft, asset)
        return _result(store, store.require(asset, partition), cache="miss")


def _unchanged(context: dg.AssetExecutionContext, store: Store, found: Record) -> dg.MaterializeResult:
    context.log.info(f"{found.asset}: nothing to do, an output with fingerprint {found.fingerprint[:16]} stands")
    clear_slot(store, found.asset, found.partition or WHOLE)  # its run may have been killed before it could do that
    return _result(store, found, cache="hit")


def upstream_version(store: Store, name: str, partition: str | None = None) -> str:
    """The data version of an asset in use, to build on. Raises BadInput when it was not made, failed a check, or lacks
    a file."""
    part = partition if name in PARTITIONED else None
    record = store.require(name, part)
    if refusal := store.refusal_of(record):
        where = f" of batch {part}" if part else ""
        raise BadInput(
            f"{name}{where} failed a check, so nothing is built on it ({refusal}). Mend it and materialise it again."
        )
    require_whole(store, record, "nothing is built on it")
    return record.data_version


def batch_versions(store: Store, assets: Sequence[str], batches: Sequence[str]) -> dict[str, str]:
    """asset/batch → data version, for what is made of many batches. Raises BadInput as `upstream_version` does."""
    return {f"{asset}/{batch}": upstream_version(store, asset, batch) for batch in batches for asset in assets}


# Assets made per scan batch; an asset outside this set is made once for the whole corpus. Only these see delivered
# files or pixels that were not cleaned, so that their errors are told without their words.
PARTITIONED = frozenset({
    "scans", "rejected_scans", "burned_in_text", "pseudo_labels", "clean_images", "batch_assignments",
})  # fmt: skip


def _result(store: Store, record: Record, cache: str) -> dg.MaterializeResult:
    folder = store.folder(record.asset, record.partition)
    metadata = {name: _shown(value) for name, value in record.metadata.items()}
    metadata |= {
        "fusc/cache": cache,
        "fusc/fingerprint": record.fingerprint[:16],
        "fusc/seconds": record.seconds,
        "dagster/uri": str(folder),
    }
    return dg.MaterializeResult(data_version=dg.DataVersion(record.data_version), metadata=metadata)


def _shown(value: Any) -> Any:
    """Metadata is kept as JSON so that a cache hit shows it again: {"md": text} is Markdown, the rest is itself."""
    if isinstance(value, dict) and set(value) == {"md"}:
        return dg.MetadataValue.md(value["md"])
    return value
