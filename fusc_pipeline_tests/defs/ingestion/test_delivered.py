"""A delivered folder that goes away: what was made stands, a reading that broke off leaves nothing, the next works."""

import os
import shutil
import subprocess
import sys
import time

import dagster as dg
import pytest

import fusc_pipeline.scans.batch as reading
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.operations.run_marks import CAUSE
from fusc_pipeline.scans.identity import create_key
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.defs.graph import cache_states, failures
from fusc_pipeline_tests.integration.simulator import definitions, png

KEYS = [dg.AssetKey("scans"), dg.AssetKey("rejected_scans")]


class Delivery:
    """A batch of four frames in an inbox, and its ingestion in this process."""

    def __init__(self, root, monkeypatch):
        self.store = Store(root)
        create_key(self.store.private / "hmac.key")
        self.inbox = Inbox(self.store.root)
        self.folder = self.inbox.drop / "b1"
        self.folder.mkdir(parents=True)
        self.files = {f"{n}.png": png(n) for n in range(4)}
        self.fill()
        self.inbox.register("b1", self.folder)
        monkeypatch.setenv("FUSC_DATA", str(self.store.root))
        self.meanwhile = lambda number: None
        monkeypatch.setattr(reading, "_in_order", self._in_order)

    def fill(self):
        self.folder.mkdir(exist_ok=True)
        for name, content in self.files.items():
            (self.folder / name).write_bytes(content)

    def _in_order(self, jobs, _workers, _seconds):
        for number, job in enumerate(jobs):
            self.meanwhile(number)
            yield reading.scan_file(*job)

    def ingest(self, **config):
        job = definitions().resolve_implicit_global_asset_job_def()
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("scan_batch", ["b1"])
            return job.get_subset(
                asset_selection=frozenset(KEYS), asset_check_selection=frozenset()
            ).execute_in_process(
                partition_key="b1",
                instance=instance,
                run_config={
                    "ops": {"scans": {"config": config}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
                raise_on_error=False,
            )

    def frames(self):
        return self.store.require("scans", "b1").metadata["dagster/row_count"]


@pytest.fixture
def delivery(tmp_path, monkeypatch):
    return Delivery(tmp_path / "data", monkeypatch)


def cause(result) -> str:
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    return failed.step_failure_data.user_failure_data.metadata[CAUSE].value


def gone(folder):
    shutil.rmtree(folder)


def emptied(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("lose", [gone, emptied])
def test_a_folder_that_is_gone_leaves_what_was_made_of_it(delivery, lose):
    assert delivery.ingest().success
    lose(delivery.folder)
    result = delivery.ingest()
    assert set(cache_states(result).values()) == {"hit"} and delivery.frames() == 4
    other = delivery.ingest(frames_per_clip=3)  # other settings would need the files
    assert cause(other) == "passing" and "run again when they are back" in failures(other)["scans"]
    assert delivery.frames() == 4
    delivery.fill()
    assert set(cache_states(delivery.ingest()).values()) == {"hit"}


@pytest.mark.parametrize("lose", [gone, emptied])
def test_a_folder_that_was_never_read_and_is_gone_may_come_back(delivery, lose):
    lose(delivery.folder)
    result = delivery.ingest()
    assert cause(result) == "passing" and "is the inbox mounted?" in failures(result)["scans"]
    delivery.fill()
    assert delivery.ingest().success and delivery.frames() == 4


def vanishing(delivery, lose, back):
    """Lose the files while the third is read; then bring them back."""
    before = delivery.store.record("scans", "b1")
    delivery.meanwhile = lambda number: lose() if number == 2 else None
    result = delivery.ingest()
    assert not result.success and cause(result) == "passing"
    assert "Nothing was published" in failures(result)["scans"]
    assert str(delivery.folder) not in failures(result)["scans"]
    assert delivery.store.record("scans", "b1") == before
    assert not list((delivery.store.root / "assets" / "scans" / "b1").glob(".*tmp*"))
    delivery.meanwhile = lambda number: None
    back()
    assert delivery.ingest().success
    assert delivery.frames() == len(delivery.files)
    assert delivery.store.table("rejected_scans", "b1").num_rows == 0


@pytest.mark.parametrize("stands", [False, True])
def test_a_folder_renamed_away_while_it_is_read(delivery, stands, tmp_path):
    if stands:
        assert delivery.ingest().success
        delivery.files |= {f"{n}.png": png(n) for n in range(4, 8)}
        delivery.fill()
    away = tmp_path / "away"
    vanishing(delivery, lambda: os.rename(delivery.folder, away), lambda: os.rename(away, delivery.folder))


def test_a_folder_deleted_while_it_is_read(delivery):
    vanishing(delivery, lambda: shutil.rmtree(delivery.folder), delivery.fill)


def test_an_inbox_unmounted_while_it_is_read(delivery):
    drop = delivery.inbox.drop
    shutil.rmtree(delivery.folder)
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", "-t", "tmpfs", "none", drop], capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a tmpfs needs root")
    mounted = True

    def unmount():
        nonlocal mounted
        subprocess.run(["umount", "-l", drop], check=True)
        mounted = False

    def mount():
        delivery.folder.mkdir(parents=True, exist_ok=True)
        delivery.fill()

    try:
        delivery.fill()
        vanishing(delivery, unmount, mount)
    finally:
        if mounted:
            unmount()


def test_one_file_deleted_while_the_batch_is_read(delivery):
    lost = delivery.folder / "3.png"
    delivery.meanwhile = lambda number: lost.unlink(missing_ok=True) if number == 1 else None
    assert cause(delivery.ingest()) == "passing"
    assert delivery.ingest().success and delivery.frames() == 3  # it is really gone: what is there is the delivery


def test_a_file_that_cannot_be_read_is_a_rejection_as_ever(delivery, monkeypatch):
    sha = reading.hashing.sha256_file

    def refuse(path, *rest):
        if path.name == "1.png":
            raise PermissionError(13, "denied")
        return sha(path, *rest)

    monkeypatch.setattr(reading.hashing, "sha256_file", refuse)
    assert delivery.ingest().success and delivery.frames() == 3
    assert delivery.store.table("rejected_scans", "b1")["reason"].to_pylist() == ["unreadable"]


@pytest.mark.parametrize("jump", [-10 * 365 * 86400, 10 * 365 * 86400])
def test_a_clock_that_jumps_and_times_that_are_touched_change_nothing(delivery, monkeypatch, jump):
    assert delivery.ingest().success
    version = delivery.store.require("scans", "b1").data_version
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    for path in delivery.folder.iterdir():
        os.utime(path, (now() + jump, now() + jump))
    assert set(cache_states(delivery.ingest()).values()) == {"hit"}
    delivery.files["new.png"] = png(9)
    delivery.fill()
    assert set(cache_states(delivery.ingest()).values()) == {"miss"}
    assert delivery.frames() == 5 and delivery.store.require("scans", "b1").data_version != version
    record = delivery.store.require("scans", "b1")
    delivery.files.pop("new.png")
    (delivery.folder / "new.png").unlink()
    assert delivery.ingest().success  # back to what was: the version of then is in use again
    assert delivery.store.require("scans", "b1").data_version == version != record.data_version


HIT = """
import sys, dagster as dg
from fusc_pipeline.defs.build import build_definitions
with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions("scan_batch", ["b1"])
    job = build_definitions(root=sys.argv[1]).resolve_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection={dg.AssetKey("scans")}, asset_check_selection=set()).execute_in_process(
        partition_key="b1", instance=instance)
made = result.asset_materializations_for_node("scans")[0]
heavy = ("cv2", "torch", "pandas", "scipy", "pydicom")
print(made.metadata["fusc/cache"].value, [name for name in heavy if name in sys.modules])
"""


def test_a_batch_with_nothing_new_loads_no_library_of_pictures(delivery):
    assert delivery.ingest().success
    told = subprocess.run([sys.executable, "-c", HIT, delivery.store.root], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "hit []"
