"""Whether a delivery is tried, tried again, or left alone, by what became of its runs so far. Which deliveries there
are is `arrivals`' part.

A run's key is used up even when the run fails, so each try has its own: a kill, a full disk or an inbox that was not
mounted must not need a hand. Input that was refused would be refused again, and what a person stopped stays stopped.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import dagster as dg

from fusc_pipeline.operations.history import UNFINISHED
from fusc_pipeline.operations.run_marks import CAUSE, FAULT, REFUSED

ARRIVAL_TAG = "fusc/arrival"
PARTITION_TAG = "dagster/partition"
# Looks between a failure and the next try: half a minute, five minutes, half an hour, at the sensor's usual rate. At
# least two, so that Dagster's own retry of a crashed run comes first and is seen.
RESTS = (2, 10, 60, 120)
STOPPED = "stopped"


@dataclass(frozen=True)
class Attempt:
    """number: of the try to make now, from 1; 0: none, for the reason `why`. memory: for the next look."""

    number: int
    why: str
    memory: dict[str, Any]


def batches_in_progress(instance: dg.DagsterInstance) -> set[str]:
    """The batches that a run is at or will be at, whoever started it."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags}


def next_attempt(
    instance: dg.DagsterInstance, arrival: str, memory: dict[str, Any], tries: int, rests: Collection[int] = RESTS
) -> Attempt:
    """What to do about the delivery with this tag, none of whose runs is going; memory: that of the look before."""
    runs = instance.get_runs(dg.RunsFilter(tags={ARRIVAL_TAG: arrival}))
    if not runs:
        return Attempt(1, "", {})
    last = runs[0]
    if memory.get("run") != last.run_id:
        memory = {"run": last.run_id, "cause": _cause(instance, last), "looks": 0}
    cause, short = memory["cause"], last.run_id[:8]
    if cause in (REFUSED, FAULT):
        return Attempt(
            0, f"refused, see run {short}; change the delivery, or run it by hand once that is mended", memory
        )
    if cause == STOPPED:
        return Attempt(0, f"stopped by hand (run {short}); launch process_new_batch for it to go on", memory)
    if len(runs) >= tries:
        return Attempt(0, f"failed {len(runs)} times, last in run {short}; launch process_new_batch by hand", memory)
    looks = memory["looks"] + 1
    rest = list(rests)[min(len(runs), len(rests)) - 1]
    if looks < rest:
        why = f"failed {len(runs)} times, last in run {short}; tried again in {rest - looks} looks"
        return Attempt(0, why, memory | {"looks": looks})
    return Attempt(len(runs) + 1, "", memory)


def _cause(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Why the run failed: one of `failures`' causes, `stopped`, or empty (killed, for one)."""
    kinds = {dg.DagsterEventType.PIPELINE_CANCELING, dg.DagsterEventType.STEP_FAILURE}
    cause = ""
    for record in instance.get_records_for_run(run.run_id, of_type=kinds).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type is dg.DagsterEventType.PIPELINE_CANCELING:
            return STOPPED
        told = event.step_failure_data.user_failure_data
        value = told.metadata.get(CAUSE) if told and told.metadata else None
        if value is not None and cause not in (REFUSED, FAULT):
            cause = str(value.value)
    return STOPPED if run.status is dg.DagsterRunStatus.CANCELED else cause
