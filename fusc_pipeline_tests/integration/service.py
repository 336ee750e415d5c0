"""A Dagster daemon with its code server, started to be killed: what the kill tests drive and look at."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
from dagster import DagsterEventType, DagsterRun, DagsterRunStatus

from fusc_pipeline.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 400  # seconds for anything that must come; nothing is asserted about how soon it does
ENCODER = {"epochs": 8, "batch_size": 8, "image_size": 32, "threads": 1}


def wait_for(what: str, found: Callable[[], object], seconds: float = PATIENCE) -> object:
    """The first true value of `found`; AssertionError naming what never came."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.1)
    return value


class Service:
    """A daemon over one data root and one run history, both in `folder`."""

    def __init__(
        self, store: Store, folder: Path, settings: Path = ROOT / "dagster.yaml", prefix: tuple[str, ...] = ()
    ):
        self.store, self.home, self.requests = store, folder / "home", folder / "requests"
        self.prefix = prefix
        for path in (self.home, self.requests):
            path.mkdir(parents=True)
        text = (
            (settings or ROOT / "dagster.yaml")
            .read_text()
            .replace("base_dir: .dagster_state", f"base_dir: {self.home}")
        )
        (self.home / "dagster.yaml").write_text(text)
        self.environment = os.environ | {
            "DAGSTER_HOME": str(self.home),
            "FUSC_DATA": str(store.root),
            "KILLABLE_REQUESTS": str(self.requests),
            "FUSC_CHECKPOINT_SECONDS": "0",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        with self.instance() as instance:  # before the daemon does: Dagster's processes do not take turns at it
            instance.get_runs(limit=1)
        self.process: subprocess.Popen | None = None
        self._born: list[psutil.Process] = []

    def start(self) -> None:
        command = [*self.prefix, str(BIN / "dagster-daemon"), "run", "-m", "fusc_pipeline_tests.integration.killable"]
        with open(self.home / "daemon.log", "a") as log:
            # A session of its own: Ctrl-C on the tests must not reach it, nor must a shell that ignores SIGINT.
            self.process = subprocess.Popen(
                command, env=self.environment, cwd=self.home, stdout=log, stderr=log, start_new_session=True
            )

    @contextlib.contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.home)) as found:
            yield found

    def tree(self) -> list[psutil.Process]:
        """Every living process that the daemon made, directly or not, at any time so far; the daemon first."""
        seen = {process.pid: process for process in self._born if process.is_running()}
        roots = [psutil.Process(self.process.pid), *seen.values()] if self.process.poll() is None else [*seen.values()]
        for root in roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                seen |= {p.pid: p for p in (root, *root.children(recursive=True))}
        self._born = list(seen.values())
        return [p for p in self._born if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def kill_everything(self) -> None:
        """What a power loss does: daemon, code server, run workers, steps, in one blow."""
        victims = self.tree()
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)  # nobody may notice that another is gone
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(victims, 20)
        self.process.wait()

    # -- runs ---------------------------------------------------------------------------------------------------

    def request(self, name: str, job: str = "train", partition: str | None = None, **config: dict) -> None:
        ops = config or {"simclr_encoder": ENCODER}
        asked = {"ops": {asset: {"config": fields} for asset, fields in ops.items()}}
        asked["execution"] = {"config": {"multiprocess": {"max_concurrent": 1}}}
        temporary = self.requests / f"{name}.tmp"
        temporary.write_text(json.dumps({"job": job, "config": asked, "partition": partition}))
        temporary.rename(self.requests / f"{name}.json")

    def runs(self, name: str) -> list[DagsterRun]:
        """The run of this request and its retries, the first one first."""
        with self.instance() as instance:
            return sorted(
                instance.get_runs(filters=dg.RunsFilter(tags={"killable": name})),
                key=lambda run: int(run.tags.get("dagster/retry_number", 0)),
            )

    def statuses(self, name: str) -> list[DagsterRunStatus]:
        return [run.status for run in self.runs(name)]

    def wait_for_success(self, name: str) -> list[DagsterRun]:
        """Runs of the request once the last one succeeded."""
        try:
            wait_for(f"the success of {name}", lambda: DagsterRunStatus.SUCCESS in self.statuses(name))
        except AssertionError:
            print((self.home / "daemon.log").read_text()[-6000:])
            raise
        return self.runs(name)

    def wait_for_training(self, name: str) -> DagsterRun:
        """The run of the request, once its trainer has written a checkpoint."""

        def training():
            found = [run for run in self.runs(name) if run.status is DagsterRunStatus.STARTED]
            return found and list((self.store.root / "work" / "simclr_encoder").rglob("checkpoint.pt")) and found[-1]

        try:
            run = wait_for(f"a checkpoint of {name}", training)
        except AssertionError:
            print((self.home / "daemon.log").read_text()[-6000:])
            raise
        self.tree()  # remembers the processes while their parents live
        return run

    def worker_of(self, run: DagsterRun) -> int:
        """The process that executes the run."""
        from fusc_pipeline.host.processes import ProcessMark
        from fusc_pipeline.operations.run_marks import WORKER_TAG

        with self.instance() as instance:
            return ProcessMark.read(instance.get_run_by_id(run.run_id).tags[WORKER_TAG]).pid

    def step_of(self, run: DagsterRun) -> int:
        """The process of the run's step that started last."""
        with self.instance() as instance:
            events = instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_WORKER_STARTED)
        return int(events[-1].dagster_event.event_specific_data.metadata["pid"].value)

    # -- what must hold after each kill -------------------------------------------------------------------------

    def assert_clean(self) -> None:
        """No slot held or waited for, no run going, nothing half-made in the data root."""
        with self.instance() as instance:
            storage = instance.event_log_storage

            def pools():
                return storage.get_concurrency_infos(sorted(storage.get_concurrency_keys())).values()

            # A step's slot is freed when the executor sees its end, a moment after the run may be told as done.
            wait_for("a free pool", lambda: not any(p.claimed_slots or p.pending_steps for p in pools()), 20)
            going = dg.RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING])
            assert not instance.get_runs(filters=going)
        assert half_made(self.store) == []


def half_made(store: Store) -> list[str]:
    """Temporary files and folders under the data root, by their path."""
    return [
        str(path.relative_to(store.root))
        for path in store.root.rglob("*")
        if path.name.startswith(".") and ("tmp" in path.name or ".old" in path.name)
    ]


@contextlib.contextmanager
def running(store: Store, folder: Path, **how) -> Iterator[Service]:
    """A service that is up; everything it ever started is gone afterwards."""
    service = Service(store, folder, **how)
    service.start()
    try:
        yield service
    finally:
        service.kill_everything()
        shutil.rmtree(service.requests, ignore_errors=True)
