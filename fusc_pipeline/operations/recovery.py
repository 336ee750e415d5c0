"""What a kill or a power loss leaves in Dagster's run history, found and mended: runs that seem to go on, slots of
pools that nobody uses. What it leaves on the disk is `store.leftovers`' part.

Dagster's own run monitoring cannot do it: its local launcher never asks whether a run's process lives, so such a run
stays STARTED, and its GPU slot taken, until `max_runtime_seconds`. Here a run is dead when its process surely is: by
the mark that the run carries (`run_marks`), else, in a history of this machine only, by the process numbers that
Dagster wrote down. Never by age. A run of another machine is left alone.
"""

from collections.abc import Iterable

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus

from fusc_pipeline.host.locks import taken
from fusc_pipeline.host.processes import ProcessMark, command_of, start_ticks
from fusc_pipeline.operations.history import GOING
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.operations.run_marks import WORKER_TAG, noted_processes
from fusc_pipeline.store.leftovers import clear_leftovers
from fusc_pipeline.store.store import Store


def reconcile(
    instance: dg.DagsterInstance, store: Store, inbox: Inbox | None = None, dry_run: bool = False
) -> list[str]:
    """Mend what killed processes left behind; a sentence for each thing that was wrong, none when nothing was.

    Dead runs are failed (cancelled, where somebody had asked for that), so that run retries and sensors see them, and
    their slots freed; then slots of finished or unknown runs; then temporary files. Cheap when all is well, safe beside
    live runs, and of two at once the second does nothing. dry_run: only tell. inbox: its private folder is cleared as
    well where it lies elsewhere than the store's.
    """
    with taken(store.root / "locks" / "reconcile.lock") as free:
        if not free:
            return []
        told = [*_dead_runs(instance, dry_run), *_leaked_slots(instance, dry_run), *clear_leftovers(store, dry_run)]
        if inbox is not None and inbox.root != store.root:
            told += clear_leftovers(Store(inbox.root), dry_run)
        return told


def why_dead(instance: dg.DagsterInstance, run: DagsterRun) -> str | None:
    """How it is known that a run's process is gone, in words; None where it lives or that cannot be known."""
    mark = _mark(instance, run)
    if mark is not None and not mark.gone:
        return None
    noted = noted_processes(instance, run)
    if mark is not None and mark.pid in noted:
        when = "before the machine's last start" if mark.boot != ProcessMark.of().boot else f"on {mark.host}"
        return f"its process {mark.pid} ended {when} without a word"
    if mark is not None and not noted and run.remote_job_origin is None:
        # `fusc run` marks its runs when it makes them; it was killed before Dagster noted a process. (A run from the
        # queue without a noted process may carry the mark of the run it was copied from.)
        return f"its process {mark.pid} ended before the first step"
    if noted and _local(instance) and not any(map(_is_dagster, noted)):
        return f"no process of it runs (Dagster noted {', '.join(map(str, sorted(noted)))})"
    return None


def _dead_runs(instance: dg.DagsterInstance, dry_run: bool) -> Iterable[str]:
    # A queued run is not among them: the daemon will start it.
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=GOING)):
        why = why_dead(instance, run)
        if why is None:
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:
            continue  # the code server reported it while we looked
        stopping = now.status is DagsterRunStatus.CANCELING
        what = "cancelled" if stopping else "failed"
        if not dry_run:
            message = f"Marked as {what} by `fusc reconcile`: {why}."
            if stopping:
                instance.report_run_canceled(now, message)
            else:
                instance.report_run_failed(now, message)
            _free(instance, run.run_id)
        yield f"run {run.run_id[:8]} ({now.status.value}): {'would be ' if dry_run else ''}marked as {what}, {why}"


def _leaked_slots(instance: dg.DagsterInstance, dry_run: bool) -> Iterable[str]:
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    pools = storage.get_concurrency_infos(sorted(storage.get_concurrency_keys()))
    holders: dict[str, set[str]] = {}
    for pool, info in pools.items():
        runs = [*(slot.run_id for slot in info.claimed_slots), *(step.run_id for step in info.pending_steps)]
        for run_id in runs:
            holders.setdefault(run_id, set()).add(pool)
    for run_id, names in holders.items():
        run = instance.get_run_by_id(run_id)
        if run is not None and not (run.is_finished and _surely_over(instance, run)):
            continue
        if not dry_run:
            _free(instance, run_id)
        state = "an unknown run" if run is None else f"a run that ended ({run.status.value})"
        verb = "would free" if dry_run else "freed"
        yield f"pool {', '.join(sorted(names))}: {verb} what {state}, {run_id[:8]}, held or waited for"


def _surely_over(instance: dg.DagsterInstance, run: DagsterRun) -> bool:
    """Whether no process of a finished run can still be at its step: a run cancelled by force may have one.

    Where the process is alive, or another machine's, Dagster frees the slots itself after a minute.
    """
    mark = _mark(instance, run)
    return (
        mark.gone
        if mark is not None
        else _local(instance) and not any(map(_is_dagster, noted_processes(instance, run)))
    )


def _mark(instance: dg.DagsterInstance, run: DagsterRun) -> ProcessMark | None:
    """The mark of the process that executes this run. A retry starts with the tags of its parent run, dead as it is."""
    text = run.tags.get(WORKER_TAG)
    if text is None:
        return None
    parent = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return None if parent is not None and parent.tags.get(WORKER_TAG) == text else ProcessMark.read(text)


def _is_dagster(pid: int) -> bool:
    """Whether a process is there that may be a Dagster run's, and not another program that got its number."""
    command = command_of(pid)
    return start_ticks(pid) is not None and any(word in command for word in ("dagster", "fusc", "python"))


def _local(instance: dg.DagsterInstance) -> bool:
    """Whether every run in the history was on this machine: SQLite is files on its disk, a server has many clients."""
    return "Sqlite" in type(instance.run_storage).__name__ or "InMemory" in type(instance.run_storage).__name__


def _free(instance: dg.DagsterInstance, run_id: str) -> None:
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
