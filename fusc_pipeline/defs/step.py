"""What every step does before its work: says which process runs it, and sees to it that it does not outlive its run."""

import dagster as dg

from fusc_pipeline.processes import ProcessMark, die_with_parent, is_step_process, run_worker

WORKER_TAG = "fusc/worker"


def begin_step(context: dg.AssetExecutionContext) -> None:
    """Tag the run with the process that executes it (`recovery` fails the run when that is gone), and die with it.

    A step's process whose run was killed would otherwise go on for hours, and a second run start beside it.
    """
    if is_step_process():
        die_with_parent()
    run = context.run
    if WORKER_TAG not in run.tags:
        context.instance.add_run_tags(run.run_id, {WORKER_TAG: ProcessMark.of(run_worker()).text()})
