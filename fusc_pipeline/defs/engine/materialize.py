"""How every asset materialises: decide by fingerprint whether there is work, do it, publish it whole, describe it.

No asset logic lives here, only what all of them share.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import dagster as dg

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.defs.engine.begin_step import begin_step
from fusc_pipeline.defs.engine.config_fields import AssetConfig
from fusc_pipeline.defs.engine.failures import full_disk, refusals, retried
from fusc_pipeline.defs.engine.gpu import device_of
from fusc_pipeline.defs.engine.preview import add_preview
from fusc_pipeline.defs.engine.work import Plan, Request, Stored, Work, is_per_batch
from fusc_pipeline.store.leftovers import clear_slot
from fusc_pipeline.store.records import Recipe, Record
from fusc_pipeline.store.store import WHOLE, Store
from fusc_pipeline.store.whole import gone, require_whole


def materialize(
    asset: Stored, context: dg.AssetExecutionContext, config: AssetConfig, store: Store
) -> dg.MaterializeResult:
    """Ask the asset for its work; return at once when an output with the same fingerprint stands, else do it on a draft
    and publish that. Nothing is published without the files that the work declares.

    How a failure is told, and whether it is retried: see `failures`.
    """
    partition = context.partition_key if asset.per_batch else None
    request = Request(asset.name, partition, context)
    begin_step(context)
    with (
        retried(context),
        refusals(discreet=asset.per_batch, private=store.private),
        full_disk(asset.name, store),
        asset.around(request, store) if asset.around else contextlib.nullcontext(),
    ):
        result = _made(asset, request, config, store)
        if asset.after:
            asset.after(request, store)
        return result


def _made(asset: Stored, request: Request, config: AssetConfig, store: Store) -> dg.MaterializeResult:
    context, name, partition = request.run, asset.name, request.batch
    work = asset.work(request, config, store)
    plan = plan_of(asset, work, partition, config, store)
    force = config.force or work.force
    if found := None if force else store.find(name, partition, plan.fingerprint, plan.holds):
        return _unchanged(context, store, found)
    with store.exclusive(name, partition, waiting=context.log.info):
        # Whoever was at it before may have made the very same, or was killed with the good version put aside.
        if not force and (found := store.find(name, partition, plan.fingerprint, plan.holds)):
            return _unchanged(context, store, found)
        if lost := store.damaged(name, partition, plan.fingerprint, plan.holds):
            context.log.warning(f"{name}: {gone(lost)}, so the output is made again")
        drafted = store.write(
            name,
            partition,
            plan.recipe,
            plan.inputs,
            model=work.model,
            incremental=work.incremental,
            holds=plan.holds,
        )
        with device_of(context, config), drafted as draft:
            work.produce(draft)
            add_preview(draft, name)
    return _result(store, store.require(name, partition), cache="miss")


def plan_of(asset: Stored, work: Work, partition: str | None, config: AssetConfig, store: Store) -> Plan:
    """What the work would be made from now. Raises BadInput as `upstream_version` does."""
    upstream = asset.deps if work.upstream is None else work.upstream
    versions = {name: upstream_version(store, name, partition) for name in upstream}
    holds = work.holds() if callable(work.holds) else work.holds
    recipe = Recipe(asset.code_version, config.deciding(), work.extra)
    return Plan(recipe, {**versions, **work.inputs}, tuple(holds))


def _unchanged(context: dg.AssetExecutionContext, store: Store, found: Record) -> dg.MaterializeResult:
    context.log.info(f"{found.asset}: nothing to do, an output with fingerprint {found.fingerprint[:16]} stands")
    clear_slot(store, found.asset, found.partition or WHOLE)  # its run may have been killed before it could do that
    return _result(store, found, cache="hit")


def upstream_version(store: Store, name: str, partition: str | None = None) -> str:
    """The data version of an asset in use, to build on. Raises BadInput when it was not made, failed a check, or lacks
    a file."""
    part = partition if is_per_batch(name) else None
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
