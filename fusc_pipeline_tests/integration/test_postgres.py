"""The PostgreSQL profile of deploy/ against a real server: parallel runs, pool limits, a power failure, a backup."""

import os
import subprocess
import sys

import pytest
from dagster import DagsterRunStatus

from fusc_pipeline_tests.integration.postgres import cluster
from fusc_pipeline_tests.integration.service import BIN, ROOT, running
from fusc_pipeline_tests.project.test_deploy import back_up

pytestmark = pytest.mark.slow
PROFILE = ROOT / "deploy" / "postgres" / "dagster.yaml"


@pytest.fixture
def database(monkeypatch):
    with cluster() as url:
        monkeypatch.setenv("FUSC_PG_URL", url)
        yield url


def test_eight_processes_run_at_once_on_a_fresh_database_and_share_the_slot(database):
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "run_history.py"), "--postgres"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 of 8 runs" in done.stdout and "at once: 0 of 16" in done.stdout


def test_the_daemon_the_power_the_verbs_and_the_backup(database, small_store, tmp_path):
    from fusc_pipeline_tests.defs.graph import failures, materialise

    assert failures(materialise(small_store, "corpus")) == {}
    with running(small_store, tmp_path, settings=PROFILE) as service:
        service.request("one")
        service.wait_for_training("one")
        service.kill_everything()
        assert service.statuses("one") == [DagsterRunStatus.STARTED]
        with service.instance() as instance:
            assert instance.event_log_storage.get_concurrency_info("gpu").claimed_slots
        told = subprocess.run(
            [str(BIN / "fusc"), "reconcile"], env=service.environment, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0 and "marked as failed" in told.stdout, told.stdout + told.stderr
        service.start()  # finds the failed run and tries it again
        first, *retries = service.wait_for_success("one")
        assert first.status is DagsterRunStatus.FAILURE and len(retries) == 1
        service.assert_clean()
        for verb in ("status", "reconcile"):
            told = subprocess.run(
                [str(BIN / "fusc"), verb], env=service.environment, capture_output=True, text=True, check=False
            )
            assert told.returncode == 0, told.stdout + told.stderr
    kept = back_up(tmp_path / "home", small_store, tmp_path / "backups", FUSC_PG_URL=database)
    assert (kept / "history.dump").stat().st_size > 10_000
