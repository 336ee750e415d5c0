"""The text stage killed at nine tenths of a batch: the next run repeats at most a tenth of it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fusc_pipeline.base.hashing import image_id
from fusc_pipeline.base.png import encode_png
from fusc_pipeline.base.schemas import BURNED_IN_TEXT, SCANS
from fusc_pipeline.store.store import Recipe, Store
from fusc_pipeline.text.engine import Word

FRAMES = 80
RUN = """
import sys
from fusc_pipeline_tests.integration.test_text_restart import materialise
sys.exit(materialise(*sys.argv[1:]))
"""


@dataclass
class SlowEngine:
    """Takes a fiftieth of a second a frame and counts in a file what it read; in a worker process, as engines are."""

    log: str
    name: str = "slow"
    fingerprint: str = "slow-1"

    def read(self, pixels: np.ndarray) -> list[Word]:
        count(self.log)
        return [Word(0, 0, 4, 4, "femur", 0.9)]


def slow_clean(scan, log: str, **_) -> dict:
    """A row of clean_images after a fiftieth of a second, counted."""
    count(log)
    return {"image_id": scan.image_id, "subject_key": "s", "subject_source": "file", "quarantined": "a test"}


def count(log: str) -> None:
    time.sleep(0.02)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, b".")
    os.close(handle)


def counted(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def materialise(root: str, asset: str, log: str) -> int:
    """Materialise one asset of the batch with the slow engine, or the slow cleaning, in place of the real one."""
    import dagster as dg

    import fusc_pipeline.text.clean_scan
    import fusc_pipeline.text.engines
    from fusc_pipeline.defs.build import build_definitions

    fusc_pipeline.text.engines.engine_factory = lambda *_: partial(SlowEngine, log)
    fusc_pipeline.text.clean_scan.clean_scan = partial(slow_clean, log=log)
    config = {"burned_in_text": {"workers": 2}, "clean_images": {"workers": 1, "check_text": False}}[asset]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("scan_batch", ["b"])
        job = build_definitions(root=root).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=instance,
            partition_key="b",
            asset_selection=[dg.AssetKey(asset)],
            run_config={"ops": {asset: {"config": config}}},
            raise_on_error=False,
        )
    return 0 if result.success else 1


@pytest.fixture
def ingested(tmp_path) -> Store:
    """A batch of small frames that was read, and whose words were."""
    store = Store(tmp_path / "data")
    rows = []
    for number in range(FRAMES):
        pixels = np.full((16, 16), number, np.uint8)
        row = {field.name: _filler(field) for field in SCANS if not field.nullable}
        rows.append(row | {"image_id": image_id(pixels), "png": encode_png(pixels)})
    words = [{"image_id": row["image_id"], "word": -1} for row in rows]
    for asset, found, schema in (("scans", rows, SCANS), ("burned_in_text", words, BURNED_IN_TEXT)):
        with store.write(asset, "b", Recipe("test"), {}) as draft:
            draft.write_table(pa.Table.from_pylist(found, schema=schema))
    return store


def _filler(field: pa.Field):
    return "x" if pa.types.is_string(field.type) else b"" if pa.types.is_binary(field.type) else 1


@pytest.mark.parametrize("asset", ["burned_in_text", "clean_images"])
def test_a_kill_at_nine_tenths_costs_a_tenth_at_most(ingested, tmp_path, asset):
    log = tmp_path / "done"
    command = [sys.executable, "-c", RUN, str(ingested.root), asset, str(log)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    before = ingested.record(asset, "b")
    victim = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while counted(log) < 0.9 * FRAMES:
        assert victim.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    time.sleep(0.1)  # a worker notices the end of its parent after the frame it is at
    done = counted(log)
    now = ingested.record(asset, "b")
    assert done < FRAMES and (now and now.fingerprint) == (before and before.fingerprint)  # nothing half-made is seen

    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
    assert counted(log) - FRAMES <= FRAMES // 10
    ids = ingested.table(asset, "b", ["image_id"]).column("image_id").to_pylist()
    assert len(ids) == len(set(ids)) == FRAMES
