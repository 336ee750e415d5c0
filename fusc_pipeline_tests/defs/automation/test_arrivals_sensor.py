"""The sensor of arrivals: what it starts, how often it tries, and what its ticks say. Its runs are executed in
`integration.test_simulated_arrivals`."""

import dagster as dg
import pytest

from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.operations import attempts
from fusc_pipeline.operations.arrivals import MARKER
from fusc_pipeline.operations.attempts import ARRIVAL_TAG, PARTITION_TAG
from fusc_pipeline.operations.run_marks import CAUSE
from fusc_pipeline.store.store import Recipe
from fusc_pipeline_tests.integration.simulator import Hospital

S = dg.DagsterRunStatus


@pytest.fixture
def hospital(tmp_path, monkeypatch):
    monkeypatch.delenv("FUSC_PRESET", raising=False)
    with dg.instance_for_test() as instance:
        yield Hospital(tmp_path / "data", instance)


def deliver(hospital, *names, content=b"x"):
    for name in names:
        folder = hospital.inbox / name
        folder.mkdir(exist_ok=True)
        (folder / "a.png").write_bytes(content)
        (folder / MARKER).touch()


def ended(hospital, request, status=S.FAILURE, cause=""):
    """As if the request had been run and ended so; `cause`: of its failed step."""

    @dg.op
    def step():
        if cause:
            raise dg.Failure("x", {CAUSE: cause}, allow_retries=False)

    @dg.job
    def process_new_batch():
        step()

    tags = {**request.tags, PARTITION_TAG: request.partition_key}
    if status is S.FAILURE and cause:
        process_new_batch.execute_in_process(instance=hospital.instance, tags=tags, raise_on_error=False)
    else:
        hospital.instance.create_run_for_job(process_new_batch, tags=tags, status=status)


def keys(requests):
    return [request.run_key for request in requests]


def test_a_delivery_is_asked_for_once_with_everything_a_run_needs(hospital):
    deliver(hospital, "b1")
    (request,) = hospital.tick()
    assert request.partition_key == "b1" and request.run_key.startswith("b1@")
    assert request.tags[ARRIVAL_TAG] == request.run_key
    assert hospital.instance.get_dynamic_partitions("scan_batch") == ["b1"]
    assert {key.to_user_string() for key in request.asset_selection} == per_batch_assets() - {"batch_assignments"}
    assert hospital.tick() == []  # the run key is used up, as the daemon knows
    ended(hospital, request, S.STARTED)
    assert hospital.tick() == [] and "b1 (a run is at it)" in hospital.told


def test_with_a_model_in_service_batches_are_assigned_too(hospital):
    with hospital.store.write("model_in_service", None, Recipe("1"), {}) as draft:
        draft.path("x").write_text("x")
    deliver(hospital, "b1")
    (request,) = hospital.tick()
    assert {key.to_user_string() for key in request.asset_selection} == per_batch_assets()


def test_few_runs_a_tick_and_the_rest_is_named(hospital, monkeypatch):
    monkeypatch.setenv("FUSC_ARRIVALS_PER_TICK", "2")
    deliver(hospital, "b1", "b2", "b3")
    first = hospital.tick()
    assert [request.partition_key for request in first] == ["b1", "b2"]
    for request in first:
        ended(hospital, request, S.STARTED)
    assert [request.partition_key for request in hospital.tick()] == ["b3"]


def test_what_was_killed_is_tried_again_after_a_rest_and_not_for_ever(hospital, monkeypatch):
    monkeypatch.setattr(attempts, "RESTS", (2, 3))
    monkeypatch.setattr(attempts.next_attempt, "__defaults__", (attempts.RESTS,))
    monkeypatch.setenv("FUSC_ARRIVAL_TRIES", "3")
    deliver(hospital, "b1")
    (request,) = hospital.tick()
    ended(hospital, request)
    assert hospital.tick() == [] and "tried again in 1 looks" in hospital.told
    (second,) = hospital.tick()
    assert second.run_key == f"{request.run_key}#2" and second.tags[ARRIVAL_TAG] == request.run_key
    ended(hospital, second, cause="passing")
    assert (hospital.tick(), hospital.tick()) == ([], [])
    (third,) = hospital.tick()
    ended(hospital, third)
    assert all(hospital.tick() == [] for _ in range(5))
    assert "failed 3 times" in hospital.told

    deliver(hospital, "b1", content=b"y")  # another delivery, with tries of its own
    (new,) = hospital.tick()
    assert "#" not in new.run_key and new.run_key != request.run_key


@pytest.mark.parametrize(
    ("status", "cause", "told"),
    [(S.FAILURE, "refused", "refused, see run"), (S.FAILURE, "fault", "refused, see run"), (S.CANCELED, "", "by hand")],
)
def test_bad_input_and_what_a_person_stopped_is_left_alone(hospital, status, cause, told):
    deliver(hospital, "b1")
    (request,) = hospital.tick()
    ended(hospital, request, status, cause)
    assert all(hospital.tick() == [] for _ in range(5))
    assert told in hospital.told


def test_names_of_refused_folders_are_told_nowhere(hospital):
    deliver(hospital, "Mary Quite", "b1")
    (request,) = hospital.tick()
    ended(hospital, request, S.STARTED)
    assert hospital.tick() == []
    assert "no batch key" in hospital.told and "Mary" not in hospital.told


def test_no_key_and_no_inbox_are_told_and_no_error(hospital):
    hospital.inbox.rmdir()
    assert hospital.tick() == [] and "is it mounted?" in hospital.told
    (hospital.store.private / "hmac.key").unlink()
    assert hospital.tick() == [] and "fusc init" in hospital.told


def test_an_entry_that_was_cut_short_starts_nothing_and_is_told(hospital):
    deliver(hospital, "monday", "b1")
    entry = hospital.store.private / "batches" / "sunday.json"
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text('{"fol')
    assert hospital.tick() == [] and "sunday.json cannot be read" in hospital.told
