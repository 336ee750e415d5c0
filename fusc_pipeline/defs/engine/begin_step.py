"""What every step does before its work: says which process runs it, and sees to it that it does not outlive its run."""

import os
import signal

import dagster as dg

from fusc_pipeline.host.processes import ProcessMark, die_with_parent, is_orphan, is_step_process, run_worker
from fusc_pipeline.operations.run_marks import WORKER_TAG, noted_processes


def begin_step(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> None:
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
