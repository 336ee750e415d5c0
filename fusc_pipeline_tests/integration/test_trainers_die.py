"""A run that is killed takes its step, the agent and the ranks with it; two runs never train on one checkpoint."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.defs.graph import failures, materialise

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not os.path.exists("/proc"), reason="needs /proc")]
ENCODER = {"epochs": 30, "batch_size": 8, "image_size": 32, "monitor_every": 0, "threads": 1}


def run(store: Store, home, **encoder) -> subprocess.Popen:
    """Dagster's own command, a process per step."""
    config = {"ops": {"simclr_encoder": {"config": ENCODER | encoder}}}
    command = [os.path.join(os.path.dirname(sys.executable), "dagster"), "asset", "materialize"]
    command += ["--select", "simclr_encoder", "-m", "fusc_pipeline.definitions", "--config-json", json.dumps(config)]
    home.mkdir(exist_ok=True)
    environment = os.environ | {"FUSC_DATA": str(store.root), "DAGSTER_HOME": str(home), "OMP_NUM_THREADS": "1"}
    environment |= {"FUSC_CHECKPOINT_SECONDS": "0"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_checkpoint(store: Store, worker: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while not list((store.root / "work" / "simclr_encoder").rglob("checkpoint.pt")):
        assert worker.poll() is None, worker.stdout.read()
        assert time.monotonic() < deadline, "no checkpoint in four minutes"
        time.sleep(0.05)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_outlives_a_run_that_is_killed(small_store, tmp_path, processes):
    assert failures(materialise(small_store, "corpus")) == {}
    worker = run(small_store, tmp_path / "home", processes=processes)
    wait_for_checkpoint(small_store, worker)
    family = psutil.Process(worker.pid).children(recursive=True)
    training = [p for p in family if "resource_tracker" not in " ".join(p.cmdline())]
    assert len(training) >= (1 if processes == 1 else 4)  # the step, and with two ranks the agent and them
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    deadline = time.monotonic() + 20
    while left := alive(training):
        assert time.monotonic() < deadline, [p.cmdline() for p in left]
        time.sleep(0.05)
    assert small_store.record("simclr_encoder") is None


def test_two_runs_train_one_after_the_other_and_the_second_finds_what_the_first_made(small_store, tmp_path):
    assert failures(materialise(small_store, "corpus")) == {}
    # Homes of their own: no pool and no history that the two share.
    first = run(small_store, tmp_path / "one", epochs=4)
    wait_for_checkpoint(small_store, first)
    second = run(small_store, tmp_path / "two", epochs=4)
    told = [worker.communicate(timeout=300)[0] for worker in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), told
    assert "waiting for another run that makes simclr_encoder" in told[1] or "nothing to do" in told[1]
    assert told[1].count("epoch 4/4") == 0 and "nothing to do, an output with fingerprint" in told[1]


def test_other_data_roots_share_the_device(small_store, tmp_path):
    assert failures(materialise(small_store, "corpus")) == {}
    other = Store(tmp_path / "other")
    shutil.copytree(small_store.root, other.root)
    first = run(small_store, tmp_path / "one", epochs=8)
    wait_for_checkpoint(small_store, first)
    second = run(other, tmp_path / "two", epochs=1)
    told = [worker.communicate(timeout=300)[0] for worker in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), told
    assert "waiting for device" in told[1] and "held by simclr_encoder of run" in told[1]
