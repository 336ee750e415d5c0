"""The executor of every job that names none: Dagster's own, after what killed runs left was mended.

`fusc run`, `fusc ui` and the sensor `reconcile_runs` mend too; but `dagster asset materialize` alone, after a kill,
would wait without an end for the GPU slot that the dead run still has.
"""

import logging
from typing import Any, cast

import dagster as dg

from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.operations.recovery import reconcile

log = logging.getLogger(__name__)


def mending_executor(resource: StoreResource) -> dg.ExecutorDefinition:
    """Several processes, or one where the run config says so, under the name and the settings that Dagster gives it."""
    usual = dg.multi_or_in_process_executor
    start = usual.executor_creation_fn
    if start is None:  # Dagster's type allows it
        raise RuntimeError("Dagster's executor cannot be started")

    def create(context: dg.InitExecutorContext):
        for sentence in reconcile(context.instance, resource.get(), resource.inbox()):
            log.warning("mended: %s", sentence)
        return start(context)

    return dg.ExecutorDefinition(
        name=usual.name,
        config_schema=cast(Any, usual.config_schema),  # Dagster takes back what it gave, whatever its type says
        requirements=usual.get_requirements,
        executor_creation_fn=create,
        description=usual.description,
    )
