"""Where everything is wired, and the only place: assets, checks, jobs, resources, executor."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from fusc_pipeline.defs import (
    assignments,
    audit,
    checks,
    checks_batches,
    checks_quality,
    checks_service,
    checks_tables,
    cleaning,
    clustering,
    dataset,
    encoders,
    evaluation,
    external,
    ingestion,
    label_audit,
    representation,
    service,
    text,
)
from fusc_pipeline.defs.automation import automated, changed_data
from fusc_pipeline.defs.executor import mending_executor
from fusc_pipeline.defs.jobs import new_batch_job, preset_jobs, report_job
from fusc_pipeline.defs.loggers import plain
from fusc_pipeline.defs.owners import owned
from fusc_pipeline.defs.recovery import reconcile_runs
from fusc_pipeline.defs.renewal import renewal
from fusc_pipeline.defs.sensors import new_scan_batches
from fusc_pipeline.defs.verdicts import check_steps, checks_of
from fusc_pipeline.resources.resource import ParquetResource, StoreResource

# Read when torch is first loaded, in this process or in a step's: waiting threads sleep instead of spinning, which
# keeps training at a usable speed when something else takes a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def build_definitions(*, root: str = "", resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions of the pipeline.

    root: data root; empty means the environment variable FUSC_DATA, else ./data. resources: replacements by key, for
    tests and deployments that bring their own.
    """
    ours = [ingestion, text, cleaning, dataset, encoders, representation, clustering, audit, label_audit]
    assets = dg.load_assets_from_modules([*ours, evaluation, external, service, assignments])
    renew_model, weekly_renewal = renewal(assets)
    return dg.Definitions(
        assets=owned(automated(assets)),
        asset_checks=check_steps(checks_of(checks_tables, checks, checks_batches, checks_quality, checks_service)),
        jobs=[*preset_jobs(), new_batch_job(), renew_model, report_job(assets)],
        schedules=[weekly_renewal],
        sensors=[new_scan_batches, changed_data(), reconcile_runs],
        loggers={"plain": plain, "console": dg.colored_console_logger},
        # Several processes unless the run config says `execution: {config: {in_process: {}}}`, as the presets do: a
        # step process costs two seconds and another import of torch, but frees its device memory when it ends.
        executor=mending_executor(StoreResource(root=root)),
        resources={
            "store": StoreResource(root=root),
            "io_manager": ParquetResource(root=root),
            **(resources or {}),
        },
    )
