"""The sensor that mends, once a minute, what killed runs left behind."""

import dagster as dg

from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.operations.recovery import reconcile

SECONDS = 60


def reconcile_sensor(seconds: int = SECONDS) -> dg.SensorDefinition:
    """The sensor `reconcile_runs`, at most every so many seconds. It starts no run; its ticks tell what it did."""

    @dg.sensor(
        name="reconcile_runs",
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails runs whose process is gone, frees their GPU slots and clears what they left on the disk; "
        "never touches a run that lives. The same by hand: `fusc reconcile`.",
    )
    def reconcile_runs(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SkipReason:
        told = reconcile(context.instance, store.get(), store.inbox())
        for sentence in told:
            context.log.warning(sentence)
        return dg.SkipReason("; ".join(told) or "nothing to mend: no dead run, no stuck slot, no temporary file")

    return reconcile_runs


reconcile_runs = reconcile_sensor()
