"""What a machine does to `fusc run`: signals, kills, a jumping clock, a full disk, a second run, a new home."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from fusc_pipeline.host.locks import taken
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.integration.service import BIN, ENCODER, ROOT, half_made, wait_for

pytestmark = pytest.mark.slow
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
TRAIN = ("run", "--select", 'key:"simclr_encoder"', *(f"--set=simclr_encoder.{k}={v}" for k, v in ENCODER.items()))
READ = ("run", "--batch", "b", "--select", 'key:"scans"', "--set=scans.workers=1")


class Machine:
    """A data root and a run history, and commands started over them."""

    def __init__(self, folder: Path, root: Path | None = None):
        self.home, self.store = folder / "home", Store(root or folder / "data")
        self.home.mkdir(parents=True)
        text = (ROOT / "dagster.yaml").read_text()
        (self.home / "dagster.yaml").write_text(text.replace("base_dir: .dagster_state", f"base_dir: {self.home}"))

    def start(self, *command: str, program: str = "fusc", **environment: str) -> subprocess.Popen:
        ours = {
            "DAGSTER_HOME": str(self.home),
            "FUSC_DATA": str(self.store.root),
            "FUSC_CHECKPOINT_SECONDS": "0",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        return subprocess.Popen(
            [str(BIN / program), *command],
            env=os.environ | ours | environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def call(self, *command: str, program: str = "fusc", **environment: str) -> tuple[int, str]:
        process = self.start(*command, program=program, **environment)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    @contextlib.contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.home)) as found:
            yield found

    def statuses(self) -> list[DagsterRunStatus]:
        """Of every run, the newest first."""
        with self.instance() as instance:
            return [run.status for run in instance.get_runs()]

    def slots(self) -> set[str]:
        """Runs that hold a slot or wait for one."""
        with self.instance() as instance:
            storage = instance.event_log_storage
            infos = storage.get_concurrency_infos(sorted(storage.get_concurrency_keys())).values()
            return {held.run_id for info in infos for held in (*info.claimed_slots, *info.pending_steps)}

    def wait_for_checkpoint(self, process: subprocess.Popen) -> None:
        def there():
            assert process.poll() is None, process.communicate()[0]
            return list((self.store.root / "work" / "simclr_encoder").rglob("checkpoint.pt"))

        wait_for("a checkpoint", there)


@pytest.fixture
def trainer(small_store, tmp_path) -> Machine:
    """A machine with a corpus to train on."""
    from fusc_pipeline_tests.defs.graph import failures, materialise

    assert failures(materialise(small_store, "corpus")) == {}
    return Machine(tmp_path, small_store.root)


@pytest.fixture
def reader(tmp_path) -> Machine:
    """A machine with a delivered batch `b`, not read yet."""
    machine = Machine(tmp_path)
    deliver(machine, tmp_path / "delivered")
    return machine


def deliver(machine: Machine, folder: Path, frames: int = 24) -> None:
    for command in (
        ("init",),
        ("phantom", str(folder), "--frames", str(frames), "--subjects", "6"),
        ("add-batch", str(folder), "--key", "b"),
    ):
        code, said = machine.call(*command)
        assert code == 0, said


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_run_that_is_told_to_stop_is_failed_and_frees_its_slot(trainer, sent):
    process = trainer.start(*TRAIN)
    trainer.wait_for_checkpoint(process)
    process.send_signal(sent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "stopped by a signal; run again" in said
    assert trainer.statuses() == [DagsterRunStatus.FAILURE] and not trainer.slots()
    assert half_made(trainer.store) == []
    code, said = trainer.call(*TRAIN)
    assert code == 0 and "mended" not in said, said


def test_dagster_alone_after_a_kill_waits_for_nobody(trainer, tmp_path):
    """`dagster asset materialize`, killed with its slot of the GPU pool and started again: no daemon, no hand."""
    settings = tmp_path / "run.yaml"
    settings.write_text(json.dumps({"ops": {"simclr_encoder": {"config": ENCODER}}}))
    command = ["asset", "materialize", "--select", 'key:"simclr_encoder"', "-m", "fusc_pipeline.definitions"]
    command += ["--config", str(settings)]
    first = trainer.start(*command, program="dagster")
    trainer.wait_for_checkpoint(first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert trainer.statuses() == [DagsterRunStatus.STARTED] and len(trainer.slots()) == 1
    code, said = trainer.call(*command, program="dagster")
    assert code == 0 and "mended: run" in said, said
    assert sorted(s.value for s in trainer.statuses()) == ["FAILURE", "SUCCESS"] and not trainer.slots()


@pytest.mark.skipif(not FAKETIME.exists(), reason="needs libfaketime (apt-get install libfaketime)")
@pytest.mark.parametrize("jump", ["+400d", "-400d"])
def test_a_clock_that_jumps_makes_nobody_dead_and_no_dead_run_alive(trainer, jump):
    jumped = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": jump, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    process = trainer.start(*TRAIN, **jumped)  # its run is begun in another year
    trainer.wait_for_checkpoint(process)
    for clock in ({}, jumped):
        code, said = trainer.call("reconcile", **clock)
        assert code == 0 and "nothing to mend" in said, said
    assert trainer.statuses() == [DagsterRunStatus.STARTED] and len(trainer.slots()) == 1
    process.kill()
    process.wait()  # before its output is read: Dagster's helpers hold that open until the process is no zombie either
    code, said = trainer.call("reconcile", "--dry-run")
    assert code == 0 and "would be marked as failed" in said and len(trainer.slots()) == 1, said
    code, said = trainer.call(*TRAIN)  # no hand on it: the next run mends it itself
    assert code == 0 and "-- mended: run" in said, said
    assert sorted(s.value for s in trainer.statuses()) == ["FAILURE", "SUCCESS"] and not trainer.slots()
    assert half_made(trainer.store) == []


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no byte of the disk."""
    ballast = place / "ballast"
    with open(ballast, "wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(1 << 16)):
            pass
    return ballast


@pytest.mark.parametrize("history_too", [False, True], ids=["of the data", "of the data and the run history"])
def test_the_disk_is_full(tmp_path, history_too):
    disk = tmp_path / "disk"
    with small_disk(disk, 64):
        machine = Machine(disk if history_too else tmp_path, disk / "data")
        delivered = tmp_path / "delivered"
        deliver(machine, delivered, frames=6)
        code, said = machine.call(*READ)
        assert code == 0, said
        before = machine.store.require("scans", "b")
        more = tmp_path / "more"
        assert machine.call("phantom", str(more), "--frames", "12", "--subjects", "6", "--seed", "5")[0] == 0
        shutil.copytree(more, delivered / "more")
        ballast = fill(disk)
        code, said = machine.call(*READ)
        assert code != 0
        if not history_too:
            assert "No space left on device" in said and "Free space" in said and "last good version" in said, said
            assert half_made(machine.store) == []
        assert machine.store.require("scans", "b") == before
        ballast.unlink()
        code, said = machine.call(*READ)
        assert code == 0, said
        now = machine.store.require("scans", "b")
        assert now.fingerprint != before.fingerprint
        assert machine.store.table("scans", "b", ["image_id"]).num_rows == 18, "no frame is lost"
        assert half_made(machine.store) == [] and not machine.slots()
        assert DagsterRunStatus.STARTED not in machine.statuses()


def test_two_runs_on_the_same_batch_at_once(reader):
    lock = reader.store.root / "locks" / "scans" / "b.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)

    def held():
        with taken(lock) as free:
            return not free

    first = reader.start(*READ)
    wait_for("the first run at its work", lambda: first.poll() is not None or held())
    first.send_signal(signal.SIGSTOP)  # in the middle of it, for as long as the second takes to come there
    assert held() and first.poll() is None
    command = ("asset", "materialize", "--select", 'key:"scans"', "--partition", "b", "-m", "fusc_pipeline.definitions")
    second = reader.start(*command, program="dagster")
    said = ""
    while "waiting for another run that makes scans of batch b" not in said:
        line = second.stdout.readline()
        assert line, said
        said += line
    first.send_signal(signal.SIGCONT)
    made, _ = first.communicate(timeout=300)
    rest, _ = second.communicate(timeout=300)
    assert first.returncode == second.returncode == 0, made + said + rest
    assert "cached" not in made and "scans: nothing to do" in rest, made + rest
    versions = [path for path in (reader.store.root / "assets" / "scans" / "b").iterdir() if path.is_dir()]
    assert len(versions) == 1 and half_made(reader.store) == []
    assert reader.statuses() == [DagsterRunStatus.SUCCESS] * 2


def test_eight_processes_open_a_brand_new_home_at_once(tmp_path):
    machine = Machine(tmp_path)
    processes = [machine.start(verb) for verb in ("init", "reconcile") * 4]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, "\n".join(said)
    assert sum("made " in words for words in said) == 1, "one key, made once"


def test_the_opening_of_a_new_home_is_killed(tmp_path):
    """A half-made history is finished by whoever comes next: the marker of a whole one is written last."""
    machine = Machine(tmp_path)
    code = "import time; from fusc_pipeline.operations import history\n"
    code += "history._make_tables = lambda _: time.sleep(60)\n"
    code += "with history.run_history(): pass"
    first = machine.start("-c", code, program=Path(sys.executable).name)
    wait_for("the opening", lambda: list(machine.home.rglob("*.db")) or first.poll() is not None)
    time.sleep(0.1)
    first.kill()
    first.wait()
    assert not (machine.home / ".opened").exists()
    assert machine.call("init")[0] == 0 and machine.statuses() == []
