"""Parts of a service at work are killed. Each time: nothing half-made, no stuck slot, no orphan, the work gets done.

The trainer is the real one on phantom frames, with a checkpoint an epoch. "Done" is by itself: nobody starts the run
again but the daemon.
"""

import os
import signal

import pytest
from dagster import DagsterRunStatus

from fusc_pipeline.host.processes import start_ticks
from fusc_pipeline_tests.integration.service import ENCODER, Service, running, wait_for

pytestmark = pytest.mark.slow
FAILURE = DagsterRunStatus.FAILURE


@pytest.fixture
def store(small_store):
    """A store with a corpus to train on."""
    from fusc_pipeline_tests.defs.graph import failures, materialise

    assert failures(materialise(small_store, "corpus")) == {}
    return small_store


def epochs(service: Service) -> list[int]:
    """Epochs in the history of the finished encoder: each once, also of those before the kill."""
    import json

    history = json.loads((service.store.folder("simclr_encoder") / "history.json").read_text())
    return [entry["epoch"] for entry in history]


def assert_done(service: Service) -> None:
    assert epochs(service) == list(range(1, ENCODER["epochs"] + 1))
    service.assert_clean()


def test_the_step_is_killed(store, tmp_path):
    with running(store, tmp_path) as service:
        service.request("one")
        run = service.wait_for_training("one")
        os.kill(service.step_of(run), signal.SIGKILL)
        first, *retries = service.wait_for_success("one")
        assert first.status is FAILURE and len(retries) == 1, "a step that crashed is no refused input"
        assert_done(service)


def test_the_run_worker_is_killed(store, tmp_path):
    with running(store, tmp_path) as service:
        service.request("one")
        run = service.wait_for_training("one")
        step, worker = service.step_of(run), service.worker_of(run)
        assert step != worker
        os.kill(worker, signal.SIGKILL)
        wait_for("the end of the step's process", lambda: start_ticks(step) is None)
        first, *retries = service.wait_for_success("one")
        assert first.status is FAILURE and len(retries) == 1, "Dagster tries a crashed run again, once"
        assert_done(service)


def test_the_daemon_is_killed(store, tmp_path):
    with running(store, tmp_path) as service:
        service.request("one")
        run = service.wait_for_training("one")
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
        service.request("two", simclr_encoder=ENCODER | {"force": True, "epochs": 2})
        (one,) = service.wait_for_success("one")  # the run goes on without it
        assert one.run_id == run.run_id and epochs(service)[-1] == ENCODER["epochs"]
        service.start()
        service.wait_for_success("two")
        service.assert_clean()


def test_the_power_fails(store, tmp_path):
    with running(store, tmp_path) as service:
        service.request("one")
        service.wait_for_training("one")
        service.kill_everything()
        assert service.statuses("one") == [DagsterRunStatus.STARTED], "nobody was left to say otherwise"
        with service.instance() as instance:
            assert instance.event_log_storage.get_concurrency_info("gpu").claimed_slots
        service.start()
        first, *retries = service.wait_for_success("one")
        assert first.status is FAILURE and len(retries) == 1
        assert_done(service)


def test_refused_input_is_not_tried_again(store, tmp_path):
    with running(store, tmp_path) as service:
        with service.instance() as instance:
            instance.add_dynamic_partitions("scan_batch", ["gone"])
        service.request("refused", job="read", partition="gone", scans={"workers": 1})
        wait_for("the refusal", lambda: FAILURE in service.statuses("refused"))
        service.request("later", simclr_encoder=ENCODER | {"epochs": 1})
        service.wait_for_success("later")  # by then the daemon has seen the failure
        (refused,) = service.runs("refused")
        assert refused.tags["dagster/will_retry"] == "false"
        with service.instance() as instance:
            told = [entry.message for entry in instance.all_logs(refused.run_id)]
        assert any("Not retrying run since it failed due to an asset or op failure" in line for line in told)
        service.assert_clean()
