"""The real definitions as a code location whose step processes are killed, each asset's once, while it is made.

Read by `dagster asset materialize -m …` and by the daemon. SWEPT, in the environment, is a file of JSON: `root`, the
data root; `fired`, a folder for marks; `at`, by asset, the number of the operation before which its process is killed.
"""

import json
import os
import signal
from pathlib import Path

import dagster as dg

from fusc_pipeline.defs.automation.reconcile_sensor import reconcile_sensor
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline_tests.integration.sweep import tiny
from fusc_pipeline_tests.integration.sweep.faults import Faults


class KilledOnce(Faults):
    """Kills this process, and no other, at the asset's operation, unless one was killed there before."""

    def __init__(self, root: Path, fired: Path, at: dict[str, int]):
        super().__init__(root)
        self._fired, self._at, self._met = fired, at, dict.fromkeys(at, 0)

    def meet(self, event: str, paths: tuple[str, ...]) -> None:
        before = len(self.seen)
        super().meet(event, paths)
        if len(self.seen) == before:
            return
        asset = next((a for a in self._at if f"/{a}/" in f"/{self.seen[-1]}/"), None)
        if asset is None or (self._fired / asset).exists():
            return
        self._met[asset] += 1
        if self._met[asset] >= self._at[asset]:
            (self._fired / asset).touch()
            os.kill(os.getpid(), signal.SIGKILL)


def _definitions() -> dg.Definitions:
    ours = build_definitions()
    whole = dg.define_asset_job("whole", selection=dg.AssetSelection.all())

    @dg.sensor(job=whole, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING, name="requests")
    def requests(_context: dg.SensorEvaluationContext):
        """The whole graph, once."""
        config = json.loads(Path(os.environ["SWEPT_CONFIG"]).read_text())
        yield dg.RunRequest(run_key="whole", run_config=config, partition_key=tiny.BATCH)

    return dg.Definitions(
        assets=ours.assets,
        asset_checks=ours.asset_checks,
        resources=ours.resources,
        executor=ours.executor,
        loggers=ours.loggers,
        jobs=[whole],
        sensors=[requests, reconcile_sensor(2)] if "SWEPT_CONFIG" in os.environ else [],
    )


tiny.cheap()
if "SWEPT" in os.environ:
    asked = json.loads(Path(os.environ["SWEPT"]).read_text())
    KilledOnce(Path(asked["root"]), Path(asked["fired"]), asked["at"]).arm()
defs = _definitions()
