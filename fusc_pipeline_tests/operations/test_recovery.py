"""What `reconcile` takes for dead, what it leaves alone, and what it does about each."""

import subprocess
import sys
import uuid
from dataclasses import replace

import dagster as dg
import pytest
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.events import EngineEventData
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from fusc_pipeline.host.processes import ProcessMark
from fusc_pipeline.operations import recovery
from fusc_pipeline.operations.recovery import reconcile
from fusc_pipeline.operations.run_marks import WORKER_TAG
from fusc_pipeline.store.store import Store

ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository"), "job")
"""What a run has that the daemon launches."""
STARTED, FAILURE = DagsterRunStatus.STARTED, DagsterRunStatus.FAILURE


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    # One database for all runs: the usual one a run takes half a second to make.
    one = {"module": "dagster._core.storage.event_log", "class": "ConsolidatedSqliteEventLogStorage"}
    folder = {"base_dir": str(tmp_path_factory.mktemp("history"))}
    with dg.instance_for_test(overrides={"event_log_storage": one | {"config": folder}}) as found:
        found.event_log_storage.set_concurrency_slots("gpu", 1)
        yield found


@pytest.fixture(autouse=True)
def no_runs(instance):
    yield
    for run in instance.get_runs():
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        instance.delete_run(run.run_id)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


@pytest.fixture(scope="module")
def living():
    """A process that runs, as a Dagster one does."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def dead() -> ProcessMark:
    process = subprocess.Popen(["sleep", "60"])
    mark = ProcessMark.of(process.pid)
    process.kill()
    process.wait()
    return mark


def a_run(instance, mark: ProcessMark | None = None, status=STARTED, noted: int | None = None, **more) -> DagsterRun:
    tags = {} if mark is None else {WORKER_TAG: mark.text()}
    run = instance.add_run(DagsterRun("job", run_id=str(uuid.uuid4()), status=status, tags=tags, **more))
    if noted is not None:
        instance.report_engine_event(f"Started process for run (pid: {noted}).", run, EngineEventData.in_process(noted))
    return run


def status(instance, run: DagsterRun) -> DagsterRunStatus:
    return instance.get_run_by_id(run.run_id).status


def claim(instance, run_id: str) -> bool:
    return instance.event_log_storage.claim_concurrency_slot("gpu", run_id, "simclr_encoder").is_claimed


def test_a_run_whose_process_is_gone_is_failed_and_its_slot_freed(instance, store, dead):
    run = a_run(instance, dead, noted=dead.pid)
    assert claim(instance, run.run_id)
    assert "would be" in reconcile(instance, store, dry_run=True)[0] and status(instance, run) is STARTED
    (told,) = reconcile(instance, store)
    assert run.run_id[:8] in told and str(dead.pid) in told and "marked as failed" in told
    assert status(instance, run) is FAILURE
    assert claim(instance, "the next run")
    instance.event_log_storage.free_concurrency_slots_for_run("the next run")
    assert reconcile(instance, store) == []


def test_a_run_that_was_being_cancelled_is_cancelled_and_so_not_retried(instance, store, dead):
    run = a_run(instance, dead, DagsterRunStatus.CANCELING, noted=dead.pid)
    assert "cancelled" in reconcile(instance, store)[0]
    assert status(instance, run) is DagsterRunStatus.CANCELED


def test_a_run_killed_before_its_first_event(instance, store, dead):
    run = a_run(instance, dead, DagsterRunStatus.NOT_STARTED)
    assert "before the first step" in reconcile(instance, store)[0]
    assert status(instance, run) is FAILURE


def test_a_boot_later_the_same_number_and_start_are_another_process(instance, store):
    mark = replace(ProcessMark.of(), boot="an earlier boot")
    run = a_run(instance, mark, noted=mark.pid)
    assert "before the machine's last start" in reconcile(instance, store)[0]
    assert status(instance, run) is FAILURE


def test_living_runs_are_left_alone_working_or_waiting(instance, store, living, dead):
    working = a_run(instance, ProcessMark.of(living), noted=living)
    waiting = a_run(instance, ProcessMark.of(), noted=ProcessMark.of().pid)
    between = a_run(instance, ProcessMark.of(living), DagsterRunStatus.STARTING)
    queued = a_run(instance, dead, DagsterRunStatus.QUEUED, remote_job_origin=ORIGIN)
    copied = a_run(instance, dead, DagsterRunStatus.STARTING, remote_job_origin=ORIGIN)  # by "open in launchpad"
    elsewhere = a_run(instance, replace(dead, host="another machine"), noted=dead.pid)
    assert claim(instance, working.run_id) and not claim(instance, waiting.run_id)
    assert reconcile(instance, store) == []
    for run in (working, waiting, elsewhere):
        assert status(instance, run) is STARTED
    assert {status(instance, run) for run in (between, copied)} == {DagsterRunStatus.STARTING}
    assert status(instance, queued) is DagsterRunStatus.QUEUED
    info = instance.event_log_storage.get_concurrency_info("gpu")
    assert [slot.run_id for slot in info.claimed_slots] == [working.run_id]
    assert waiting.run_id in {step.run_id for step in info.pending_steps}


def test_a_retry_is_not_taken_for_the_dead_run_whose_tags_it_has(instance, store, living, dead):
    parent = a_run(instance, dead, FAILURE, noted=dead.pid)
    retry = a_run(instance, dead, noted=living, parent_run_id=parent.run_id, root_run_id=parent.run_id)
    unmarked = a_run(instance, dead, DagsterRunStatus.STARTING, parent_run_id=parent.run_id, root_run_id=parent.run_id)
    copied = a_run(instance, dead, noted=living)
    assert reconcile(instance, store) == []
    assert {status(instance, run) for run in (retry, copied)} == {STARTED}
    assert status(instance, unmarked) is DagsterRunStatus.STARTING


def test_without_a_mark_the_processes_that_dagster_noted_decide(instance, store, living, dead, monkeypatch):
    alive, gone = a_run(instance, noted=living), a_run(instance, noted=dead.pid)
    unknown = a_run(instance)
    other = subprocess.Popen(["sleep", "60"])  # has a number that a run's process had before
    reused = a_run(instance, noted=other.pid)
    with monkeypatch.context() as patched:
        patched.setattr(recovery, "_local", lambda _: False)  # on a database server it may be another machine's number
        assert reconcile(instance, store) == []
    assert len(reconcile(instance, store)) == 2
    other.kill()
    other.wait()
    assert {status(instance, run) for run in (alive, unknown)} == {STARTED}
    assert {status(instance, run) for run in (gone, reused)} == {FAILURE}


def test_slots_of_finished_and_unknown_runs_are_freed_also_waiting_ones(instance, store, dead):
    finished = a_run(instance, dead, FAILURE, noted=dead.pid)
    assert claim(instance, finished.run_id)
    assert not claim(instance, "a run that was deleted")
    told = reconcile(instance, store)
    assert len(told) == 2 and any("FAILURE" in line for line in told) and any("unknown" in line for line in told)
    info = instance.event_log_storage.get_concurrency_info("gpu")
    assert not info.claimed_slots and not info.pending_steps


def test_the_slot_of_a_run_that_was_ended_by_force_stays_while_its_process_works(instance, store, living):
    forced = a_run(instance, ProcessMark.of(living), DagsterRunStatus.CANCELED, noted=living)
    assert claim(instance, forced.run_id)
    assert reconcile(instance, store) == []


def test_of_two_at_once_the_second_does_nothing(instance, store, dead):
    from fusc_pipeline.host.locks import taken

    a_run(instance, dead, noted=dead.pid)
    with taken(store.root / "locks" / "reconcile.lock") as free:
        assert free and reconcile(instance, store) == []
    assert len(reconcile(instance, store)) == 1


def test_the_sensor_tells_what_it_did(instance, store, dead):
    from fusc_pipeline.defs.automation.reconcile_sensor import reconcile_runs
    from fusc_pipeline.defs.engine.resources import StoreResource

    run = a_run(instance, dead, noted=dead.pid)
    with dg.build_sensor_context(
        instance=instance, resources={"store": StoreResource(root=str(store.root))}
    ) as context:
        assert run.run_id[:8] in reconcile_runs(context).skip_message
    with dg.build_sensor_context(
        instance=instance, resources={"store": StoreResource(root=str(store.root))}
    ) as context:
        assert "nothing to mend" in reconcile_runs(context).skip_message
    assert reconcile_runs.default_status is dg.DefaultSensorStatus.RUNNING
