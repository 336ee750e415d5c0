"""Where everything is wired, and the only place: assets, checks, jobs, resources, executor."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from fusc_pipeline.defs import table_checks
from fusc_pipeline.defs.automation.arrivals_sensor import new_scan_batches
from fusc_pipeline.defs.automation.changed_data import automated, changed_data
from fusc_pipeline.defs.automation.executor import mending_executor
from fusc_pipeline.defs.automation.jobs import new_batch_job, preset_jobs, report_job
from fusc_pipeline.defs.automation.loggers import plain
from fusc_pipeline.defs.automation.reconcile_sensor import reconcile_runs
from fusc_pipeline.defs.automation.renewal import renewal
from fusc_pipeline.defs.clustering import checks as clustering_checks
from fusc_pipeline.defs.clustering import registry
from fusc_pipeline.defs.dataset import checks as dataset_checks
from fusc_pipeline.defs.dataset import corpus
from fusc_pipeline.defs.engine.check import check_steps, checks_of
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.defs.evaluation import audit_checks, external, inpainting_audit, label_audit, reports
from fusc_pipeline.defs.evaluation import checks as evaluation_checks
from fusc_pipeline.defs.ingestion import scans
from fusc_pipeline.defs.owners import owned
from fusc_pipeline.defs.representation import checks as representation_checks
from fusc_pipeline.defs.representation import embeddings, encoders
from fusc_pipeline.defs.service import batch_assignments, model_in_service
from fusc_pipeline.defs.service import checks as service_checks
from fusc_pipeline.defs.service.model_in_service import candidate_asset
from fusc_pipeline.defs.text import burned_in_text, clean_images
from fusc_pipeline.defs.text import checks as text_checks

# Modules whose assets and checks are taken in, in the order of the groups.
_ASSETS = (
    scans,
    burned_in_text,
    clean_images,
    corpus,
    encoders,
    embeddings,
    registry,
    inpainting_audit,
    label_audit,
    reports,
    external,
    model_in_service,
    batch_assignments,
)
_CHECKS = (
    table_checks,
    text_checks,
    dataset_checks,
    representation_checks,
    clustering_checks,
    audit_checks,
    evaluation_checks,
    service_checks,
)

# Read when torch is first loaded, in this process or in a step's: waiting threads sleep instead of spinning, which
# keeps training at a usable speed when something else takes a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def build_definitions(*, root: str = "", resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions of the pipeline.

    root: data root; empty means the environment variable FUSC_DATA, else ./data. resources: replacements by key, for
    tests and deployments that bring their own.
    """
    found = [*dg.load_assets_from_modules(_ASSETS), candidate_asset()]
    assets = [asset for asset in found if isinstance(asset, dg.AssetsDefinition)]
    if len(assets) < len(found):
        raise TypeError("every asset is declared by stored_asset; something else stands in a group's module")
    renew_model, weekly_renewal = renewal(assets)
    return dg.Definitions(
        assets=owned(automated(assets)),
        asset_checks=check_steps(checks_of(*_CHECKS)),
        jobs=[*preset_jobs(), new_batch_job(), renew_model, report_job(assets)],
        schedules=[weekly_renewal],
        sensors=[new_scan_batches, changed_data(), reconcile_runs],
        loggers={"plain": plain, "console": dg.colored_console_logger},
        # Several processes unless the run config says `execution: {config: {in_process: {}}}`, as the presets do: a
        # step process costs two seconds and another import of torch, but frees its device memory when it ends.
        executor=mending_executor(StoreResource(root=root)),
        resources={
            "store": StoreResource(root=root),
            **(resources or {}),
        },
    )
