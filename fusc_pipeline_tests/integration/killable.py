"""The real definitions as a code location to be killed: the pipeline's assets and checks, with jobs that files ask for.

Sensors and schedules of the pipeline are left out (they would start runs of their own), all but `reconcile_runs`, which
looks every two seconds here. A file `<name>.json` in the folder KILLABLE_REQUESTS starts a run:
{"job": ..., "config": ..., "partition": ...}.
"""

import json
import os
from pathlib import Path

import dagster as dg

from fusc_pipeline.defs.automation.reconcile_sensor import reconcile_sensor
from fusc_pipeline.defs.build import build_definitions

train = dg.define_asset_job("train", selection=dg.AssetSelection.assets("simclr_encoder"))
read = dg.define_asset_job("read", selection=dg.AssetSelection.assets("scans"))


@dg.sensor(
    jobs=[train, read], minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING, name="requests"
)
def requests(context: dg.SensorEvaluationContext):
    """A run for each file, once."""
    for path in sorted(Path(os.environ["KILLABLE_REQUESTS"]).glob("*.json")):
        asked = json.loads(path.read_text())
        yield dg.RunRequest(
            run_key=path.stem,
            job_name=asked["job"],
            run_config=asked["config"],
            partition_key=asked.get("partition"),
            tags={"killable": path.stem},
        )


def _definitions() -> dg.Definitions:
    ours = build_definitions()
    return dg.Definitions(
        assets=ours.assets,
        asset_checks=ours.asset_checks,
        resources=ours.resources,
        executor=ours.executor,
        loggers=ours.loggers,
        jobs=[train, read],
        sensors=[requests, reconcile_sensor(2)],
    )


defs = _definitions()
