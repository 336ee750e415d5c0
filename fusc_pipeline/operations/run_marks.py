"""What a run says of itself in Dagster's history: which process executes it, and why it failed."""

import dagster as dg
from dagster import DagsterEventType, DagsterRun

WORKER_TAG = "fusc/worker"
# Metadata of a failed step: why it failed, for whoever decides about another try.
CAUSE, REFUSED, FAULT, SIGNAL, PASSING = "fusc/cause", "refused", "fault", "signal", "passing"


def noted_processes(instance: dg.DagsterInstance, run: DagsterRun) -> set[int]:
    """Numbers of the processes that Dagster says execute the run as a whole, not one step of it."""
    found = set()
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None or event.step_key is not None or event.event_specific_data is None:
            continue
        pid = event.engine_event_data.metadata.get("pid")
        if pid is not None and str(pid.value).isdigit():
            found.add(int(str(pid.value)))
    return found
