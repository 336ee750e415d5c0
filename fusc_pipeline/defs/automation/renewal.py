"""Renewal: the job that trains on the whole corpus up to the model in service, and the schedule that starts it.

Whether a renewed model is promoted is `service`'s part; that batches are assigned meanwhile, `jobs`'.
"""

import graphlib
import os
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from fusc_pipeline.base.errors import BadInput, BadSetting, FuscError
from fusc_pipeline.defs.engine.planning import plan_asset, refusal_words
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.operations.dagster_private import is_cron
from fusc_pipeline.operations.history import UNFINISHED
from fusc_pipeline.operations.presets import site_config, site_preset
from fusc_pipeline.store.store import Record, Store

RENEWAL_JOB = "renew_model"
END = "model_in_service"
CRON, DEFAULT_CRON = "FUSC_RENEWAL_CRON", "0 2 * * 0"  # Sunday, 02:00
# Encoders that a renewal starts warm unless the settings say otherwise, as benchmarks/renewal.py showed that it is no
# worse: with half the epochs, k-NN 58.5 % against 51.1 % from random weights. DINO was not measured.
WARM, WARM_STARTED = "warm_start", frozenset({"simclr_encoder"})


def renewal_selection() -> dg.AssetSelection:
    """Everything that the model in service is made from and that is not made per batch."""
    return dg.AssetSelection.assets(END).upstream() - dg.AssetSelection.assets(*sorted(per_batch_assets()))


def renewal_config(assets: Sequence[str]) -> dict[str, Any]:
    """What the job starts with by default: the installation's settings of these assets, encoders started warm."""
    config = site_config(assets)
    return config | {"ops": _warmed(config.get("ops") or {}, assets)}


def renewal_cron() -> str:
    """When the model is renewed: FUSC_RENEWAL_CRON, else Sunday, 02:00. Raises BadSetting for what says no time."""
    given = os.environ.get(CRON) or DEFAULT_CRON
    if not is_cron(given):
        raise BadSetting(f"{CRON}={given}: give minute, hour, day, month and weekday, e.g. {DEFAULT_CRON!r}")
    return given


def scheduled_config(store: Store, assets: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(run config of a scheduled renewal, settings by asset to find out with whether there is anything to renew).

    Without settings of the installation a renewal uses those that each output was made with: whoever trained the first
    model chose them. How an encoder was started is no reason to train it again.
    """
    records = {name: record for name in assets if (record := store.record(name))}
    config = site_config(assets)
    if not site_preset():
        config = {"ops": {name: {"config": record.config} for name, record in records.items()}}
    ops = config.get("ops") or {}
    asked = _warmed(ops, assets)
    for name in (name for name in asked if name in records):
        fields = {key: value for key, value in asked[name].get("config", {}).items() if key != WARM}
        made = {WARM: records[name].config[WARM]} if WARM in records[name].config else {}
        asked[name] = {"config": fields | made}
    return config | {"ops": _warmed(ops, assets)}, asked


def _warmed(ops: Mapping[str, Any], assets: Sequence[str]) -> dict[str, Any]:
    """These settings by asset, with a warm start of the encoders that have it by default and of which they say nothing
    else."""
    changed = {name: dict(body or {}) for name, body in ops.items()}
    for name in WARM_STARTED.intersection(assets):
        fields = changed.get(name, {}).get("config") or {}
        if not (fields.get("encoder") or {}).get("frozen"):
            changed[name] = {**changed.get(name, {}), "config": {WARM: True, **fields}}
    return changed


def renewal(assets: Sequence[dg.AssetsDefinition]) -> tuple[Any, dg.ScheduleDefinition]:
    """The job `renew_model` and the schedule `weekly_renewal` over these assets."""
    names = sorted(key.to_user_string() for key in renewal_selection().resolve(list(assets)))
    job = dg.define_asset_job(
        name=RENEWAL_JOB,
        selection=renewal_selection(),
        config=renewal_config(names),
        description="Train on the whole corpus and decide whether the new model goes into service. What is fresh is "
        "not made again. The schedule `weekly_renewal` starts it; by hand, launch it.",
    )

    @dg.schedule(
        name="weekly_renewal",
        job=job,
        cron_schedule=renewal_cron(),
        execution_timezone=local_timezone(),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Renews the model when the corpus, the installation's settings or the code changed since. The "
        f"environment variable {CRON} says when (default: Sunday, 02:00, of this machine's clock).",
    )
    def weekly_renewal(context: dg.ScheduleEvaluationContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
        filters = dg.RunsFilter(job_name=RENEWAL_JOB, statuses=UNFINISHED)
        if going := context.instance.get_runs(filters, limit=1):
            return dg.SkipReason(f"run {going[0].run_id[:8]} is renewing the model already")
        order = [name for name in toposorted(assets) if name in names]
        config, asked = scheduled_config(store.get(), names)
        try:
            why = first_change(store.get(), order, asked)
        except (FuscError, dg.Failure) as refusal:
            return dg.SkipReason(f"the model cannot be renewed: {refusal_words(refusal)}")
        if why is None:
            return dg.SkipReason(
                "nothing changed since the last model was made: corpus, settings and code are the same"
            )
        context.log.info(f"renewing the model: {why}")
        return dg.RunRequest(run_config=config)

    return job, weekly_renewal


def toposorted(assets: Sequence[dg.AssetsDefinition]) -> list[str]:
    """Names of the assets, each after those it is made from."""
    before = {key: deps for definition in assets for key, deps in definition.asset_deps.items()}
    return [key.to_user_string() for key in graphlib.TopologicalSorter(before).static_order() if key in before]


def first_change(store: Store, assets: Iterable[str], ops: Mapping[str, Any]) -> str | None:
    """The first of the assets (in the order of making) that a run would make, and why; None when all are fresh.

    ops: settings by asset, as in a run's config. Raises what planning raises: an input is missing or was refused. No
    torch: it is the decision that the assets themselves take, and no work.
    """
    for name in assets:
        plan = plan_asset(name, store, config=(ops.get(name) or {}).get("config"))
        record = store.record(name)
        if name == "corpus" and not plan.inputs:
            raise BadInput("no scan batch stands with clean images and labels yet; add one: fusc add-batch <folder>")
        if record is None:
            return f"{name} was never made"
        if record.fingerprint != plan.fingerprint:
            return f"{name} would be another: {_difference(record, plan.recipe.key, plan.inputs)}"
    return None


def _difference(record: Record, recipe: str, inputs: Mapping[str, str]) -> str:
    if record.recipe != recipe:
        return "its settings or its code changed"
    changed = sum(record.inputs.get(name) != version for name, version in inputs.items())
    gone = len(record.inputs.keys() - inputs.keys())
    return f"{changed} of its {len(inputs)} inputs changed" + (f", {gone} are gone" if gone else "")


def local_timezone() -> str:
    """Name of this machine's time zone (TZ, /etc/localtime), UTC where it has none that is known by name."""
    link = Path("/etc/localtime")
    linked = os.path.realpath(link).partition("zoneinfo/")[2] if link.is_symlink() else ""
    for name in (os.environ.get("TZ", "").lstrip(":"), linked):
        if name:
            try:
                return zoneinfo.ZoneInfo(name).key
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                continue
    return "UTC"
