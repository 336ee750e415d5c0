"""Jobs: one for each preset, over the whole graph; and the one that makes a batch and assigns it to clusters."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.operations.presets import about, left_out, load_preset, preset_names, site_config, site_preset
from fusc_pipeline.store.store import Store

NEW_BATCH_JOB = "process_new_batch"
REPORT_JOB, REPORTS = "rebuild_report", "evaluation"
NEEDS_MODEL = frozenset({"batch_assignments"})


def preset_jobs() -> list:
    """A job per preset, and one for the file that FUSC_PRESET names, if any; pick a batch and launch."""
    site = site_preset()
    names = [*preset_names(), *([site] if site and site not in preset_names() else [])]
    return [
        dg.define_asset_job(
            name=job_name(name),
            selection=dg.AssetSelection.all() - dg.AssetSelection.assets(*left_out(name)),
            config=load_preset(name),
            description="One scan batch to the report with the settings of the preset "
            f"`{Path(name).name}`: {about(name)}",
        )
        for name in names
    ]


def job_name(preset: str) -> str:
    """The name of a preset's job: its own, or for a file `preset_` and the file's name."""
    return preset if preset in preset_names() else f"preset_{re.sub('[^A-Za-z0-9_]', '_', Path(preset).stem)}"


def new_batch_job() -> Any:
    """`process_new_batch`, what a batch's arrival starts: nothing is trained, one process does it all."""
    return dg.define_asset_job(
        name=NEW_BATCH_JOB,
        selection=dg.AssetSelection.assets(*sorted(per_batch_assets())),
        config=batch_config(per_batch_assets()),
        executor_def=dg.in_process_executor,
        description="One scan batch: read, clean, assign to the clusters of the model in service. The sensor "
        "`new_scan_batches` starts it for what arrives in the inbox; by hand, pick a batch and launch.",
    )


def report_job(assets: Iterable[dg.AssetsDefinition]) -> Any:
    """`rebuild_report`: figures, audits and page anew from the models there are; nothing is trained on the way."""
    names = [asset.key.to_user_string() for asset in assets if REPORTS in asset.group_names_by_key.values()]
    return dg.define_asset_job(
        name=REPORT_JOB,
        selection=dg.AssetSelection.groups(REPORTS),
        config=batch_config(names),
        executor_def=dg.in_process_executor,
        description="Figures, pictures, audits and the page, from the models and batches as they are now. Nothing to "
        "set: launch it. The page is then at /report of this server.",
    )


def batch_assets(store: Store) -> list[str]:
    """What can be made of a batch now: all of it once a model is in service."""
    return sorted(per_batch_assets() - (NEEDS_MODEL if store.record("model_in_service") is None else frozenset()))


def batch_config(assets: Iterable[str]) -> dict[str, Any]:
    """The installation's settings of these assets, for a job that has its own executor."""
    return {name: body for name, body in site_config(assets).items() if name != "execution"}
