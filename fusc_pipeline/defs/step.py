"""What every step does before its work: says which process runs it, and sees to it that it does not outlive its run."""

import os
import signal

import dagster as dg
from dagster import DagsterEventType, DagsterRun

from fusc_pipeline.host.processes import ProcessMark, die_with_parent, is_orphan, is_step_process, run_worker

WORKER_TAG = "fusc/worker"


def begin_step(context: dg.AssetExecutionContext) -> None:
    """Tag the run with the process that executes it (`recovery` fails the run when that is gone), and die with it.

    A step's process whose run was killed would otherwise go on for hours, and a second run start beside it.
    """
    run = context.run
    if is_step_process():
        die_with_parent()
    elif is_orphan() and os.getpid() not in noted_processes(context.instance, run):
        os.kill(os.getpid(), signal.SIGKILL)  # the run was killed while its step's process started
    mark = ProcessMark.of(run_worker()).text()
    if run.tags.get(WORKER_TAG) != mark:  # a retry begins with the tags, and so the mark, of the run that it retries
        context.instance.add_run_tags(run.run_id, {WORKER_TAG: mark})


def noted_processes(instance: dg.DagsterInstance, run: DagsterRun) -> set[int]:
    """Numbers of the processes that Dagster says execute the run as a whole, not one step of it."""
    found = set()
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None or event.step_key is not None or event.event_specific_data is None:
            continue
        pid = event.event_specific_data.metadata.get("pid")
        if pid is not None and str(pid.value).isdigit():
            found.add(int(pid.value))
    return found
