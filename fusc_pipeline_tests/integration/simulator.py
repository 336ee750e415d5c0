"""A hospital's inbox, played by a seed: batches arrive in any order, half-copied, twice, grown, broken; the real sensor
looks at it and its run requests are executed by the real job in this process.

Engines that read and clean cost nothing here and count what they are given.
"""

import contextlib
import io
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

import dagster as dg
from PIL import Image

from fusc_pipeline.base.hashing import image_id
from fusc_pipeline.defs.automation.jobs import batch_config
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.operations.arrivals import MARKER
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.scans.identity import create_key
from fusc_pipeline.store.store import Store
from fusc_pipeline.text.engine import Word
from fusc_pipeline_tests.scans.make import sector

TABLES = ("scans", "rejected_scans", "burned_in_text", "pseudo_labels", "clean_images")
KINDS = ("marked", "unmarked", "half", "touched", "again", "twin", "grown", "broken", "empty", "vanishing")
SETTINGS = "ops:\n  scans: {config: {workers: 1}}\n  clean_images: {config: {workers: 1, check_text: false}}\n"
_WORDS = ("femur", "brain", "abdomen", "something")


@dataclass
class Counted:
    """How often each picture was read, and cleaned."""

    read: Counter = field(default_factory=Counter)
    cleaned: Counter = field(default_factory=Counter)


@dataclass
class CountingEngine:
    """Reads one word, decided by the picture."""

    counted: Counted
    name: str = "counting"
    fingerprint: str = "counting-1"

    def read(self, pixels) -> list[Word]:
        identity = image_id(pixels)
        self.counted.read[identity] += 1
        return [Word(2, 2, 12, 8, _WORDS[int(identity[:4], 16) % len(_WORDS)], 0.9)]


@contextlib.contextmanager
def cheap(monkeypatch, house: Path, before_reading: Callable[[Path], None] | None = None) -> Iterator[Counted]:
    """Everything in this process, with engines that count; `house`: file of the settings to write.

    before_reading: called with the path of each file before it is read.
    """
    import fusc_pipeline.scans.batch
    import fusc_pipeline.text.clean_scan
    import fusc_pipeline.text.engines
    import fusc_pipeline.text.pool

    counted, clean = Counted(), fusc_pipeline.text.clean_scan.clean_scan
    read_frames = fusc_pipeline.text.pool.read_frames

    def counting(scan, **options):
        counted.cleaned[scan.image_id] += 1
        return clean(scan, **options)

    def in_process(jobs, _workers, _seconds):
        for job in jobs:
            if before_reading:
                before_reading(job[0].path)
            yield fusc_pipeline.scans.batch.scan_file(*job)

    monkeypatch.setattr(fusc_pipeline.text.clean_scan, "clean_scan", counting)
    monkeypatch.setattr(fusc_pipeline.scans.batch, "_in_order", in_process)
    monkeypatch.setattr(fusc_pipeline.text.engines, "engine_factory", lambda *_: lambda: CountingEngine(counted))
    monkeypatch.setattr(
        fusc_pipeline.text.pool, "read_frames", lambda frames, engine, *_, **__: read_frames(frames, engine, 0)
    )
    house.write_text(SETTINGS)
    monkeypatch.setenv("FUSC_PRESET", str(house))
    yield counted


@cache
def definitions() -> dg.Definitions:
    """Those of the pipeline; building them takes as long as a small run. The data root is FUSC_DATA's."""
    return build_definitions()


class Hospital:
    """A data root, its run history, and the sensor over both. checks: whether runs judge what they make (a third of
    their time)."""

    def __init__(self, root: Path, instance: dg.DagsterInstance, checks: bool = True):
        self.store, self.instance = Store(root), instance
        self.inbox = self.store.root / "inbox"
        if not (self.store.private / "hmac.key").exists():
            create_key(self.store.private / "hmac.key")
        self.inbox.mkdir(exist_ok=True)
        self._definitions = definitions()
        self._place = mock.patch.dict(os.environ, FUSC_DATA=str(self.store.root))
        self._repository = self._definitions.get_repository_def()
        self._sensor = self._repository.get_sensor_def("new_scan_batches")
        self._job, self._checks = self._definitions.resolve_job_def("process_new_batch"), checks
        self._cursor: str | None = None
        self._keys: set[str] = set()
        self.told = ""

    def tick(self) -> list[dg.RunRequest]:
        """One look of the sensor; what it asks for is in the run history's partitions, not run yet."""
        with (
            dg.SensorEvaluationContext(
                instance_ref=self.instance.get_ref(),
                instance=self.instance,
                last_tick_completion_time=None,
                last_run_key=None,
                cursor=self._cursor,
                log_key=None,
                repository_name=None,
                repository_def=self._repository,
                sensor_name="new_scan_batches",
                resources={"store": StoreResource(root=str(self.store.root))},
            ) as context,
            self._place,
        ):
            found = self._sensor.evaluate_tick(context)
        self._cursor, self.told = found.cursor, found.skip_message or ""
        for request in found.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions("scan_batch", request.partition_keys)
        new = [request for request in found.run_requests if request.run_key not in self._keys]  # as the daemon does
        self._keys |= {request.run_key for request in new}
        return new

    def run(self, request: dg.RunRequest) -> bool:
        """Execute a run request; whether it succeeded."""
        return self._execute(request.partition_key, request.asset_selection, request.run_config, request.tags).success

    def run_in_order(self) -> None:
        """What lies in the inbox, one batch after the other, without sensor and checks."""
        for folder in sorted(path for path in self.inbox.iterdir() if any(path.iterdir())):
            self.instance.add_dynamic_partitions("scan_batch", [folder.name])
            Inbox(self.store.root).register(folder.name, folder)
            assert self._execute(folder.name, [dg.AssetKey(name) for name in TABLES], batch_config(TABLES), {}).success

    def _execute(self, batch, assets, config, tags) -> dg.ExecuteInProcessResult:
        checks = None if self._checks else frozenset()
        job = self._job.get_subset(asset_selection=frozenset(assets), asset_check_selection=checks)
        with self._place:
            return job.execute_in_process(
                instance=self.instance,
                partition_key=batch,
                run_config={**config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                tags=dict(tags),
                raise_on_error=False,
            )

    def work(self) -> list[tuple[str, bool]]:
        """A tick and all it asks for: (batch, whether its run succeeded)."""
        return [(request.partition_key, self.run(request)) for request in self.tick()]

    def work_off(self, most: int = 1000) -> None:
        """Ticks until two in a row ask for nothing and no failed run is to be tried again."""
        quiet = 0
        for _ in range(most):
            quiet = 0 if self.work() or "tried again" in self.told else quiet + 1
            if quiet == 3:
                return
        raise AssertionError(f"still at work after {most} looks: {self.told}")

    def corpus(self) -> None:
        """Materialise the corpus."""
        job = self._definitions.resolve_implicit_global_asset_job_def()
        with self._place:
            assert job.execute_in_process(instance=self.instance, asset_selection=[dg.AssetKey("corpus")]).success

    def versions(self) -> dict[tuple[str, str], str]:
        """Data version of every table of every batch, and of the corpus."""
        found = {
            (asset, batch): self.store.require(asset, batch).data_version
            for asset in TABLES
            for batch in self.store.partitions(asset)
        }
        return found | {("corpus", ""): self.store.require("corpus").data_version}


def png(seed: int) -> bytes:
    """A small frame; another seed, another picture."""
    buffer = io.BytesIO()
    Image.fromarray(sector(96, 120, r0=12, r1=84, apex_y=-4, seed=seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Plan:
    """What will have been delivered as one batch in the end, and how it gets there. files: name -> bytes."""

    key: str
    kind: str
    files: dict[str, bytes]


def plans(seed: int, batches: int) -> list[Plan]:
    """Batches of two to four frames, of every kind in turn; a twin has the content of a batch before it."""
    chance = random.Random(seed)
    made: list[Plan] = []
    for number in range(batches):
        kind = KINDS[number % len(KINDS)]
        frames = {
            f"Patient{chance.randrange(40):03d}_{frame}.png": png(1000 * number + frame)
            for frame in range(chance.randint(2, 4))
        }
        if kind == "twin":
            frames = dict(chance.choice([plan for plan in made if plan.kind not in ("empty", "broken")]).files)
            if chance.random() < 0.5:  # one frame more than its twin, in front of the others
                frames["A_first.png"] = png(1000 * number)
        elif kind == "broken":
            name = min(frames)
            frames[name] = frames[name][: len(frames[name]) // 2]
            frames["letter.txt"] = b"dear colleague"
        elif kind == "empty":
            frames = {}
        made.append(Plan(f"b{number:03d}", kind, frames))
    return made


class Play:
    """Delivers the plans bit by bit, a step of some batches before each look of the sensor."""

    def __init__(self, hospital: Hospital, todo: list[Plan], seed: int):
        self._hospital, self._chance = hospital, random.Random(seed + 1)
        self._steps = {plan.key: self._deliver(plan) for plan in todo}
        self.vanish: set[Path] = set()  # folders that go away as soon as one of their files is read

    def run(self) -> None:
        """Until everything is delivered, and made."""
        while self._steps:
            for key in self._chance.sample(sorted(self._steps), min(len(self._steps), 4)):
                if next(self._steps[key], None) is None:
                    del self._steps[key]
            self._hospital.work()
        self._hospital.work_off()

    def before_reading(self, path: Path) -> None:
        """Take away a folder that is being read, for once; `_deliver` brings it back."""
        if path.parent in self.vanish:
            self.vanish.remove(path.parent)
            os.rename(path.parent, self._away(path.parent))

    def _away(self, folder: Path) -> Path:
        return self._hospital.store.root / f"away-{folder.name}"

    def _deliver(self, plan: Plan) -> Iterator[bool]:
        folder, names = self._hospital.inbox / plan.key, list(plan.files)
        folder.mkdir()
        self._chance.shuffle(names)
        first = names if plan.kind not in ("half", "grown") else names[: len(names) // 2]
        if plan.kind == "vanishing":
            self.vanish.add(folder)
        for name in first:
            (folder / name).write_bytes(plan.files[name])
        if plan.kind == "half":  # a copy that takes several looks, its last file cut in two by one of them
            yield True
            (folder / names[-1]).write_bytes(plan.files[names[-1]][:200])
            yield True
        if plan.kind in ("marked", "twin", "grown"):
            (folder / MARKER).touch()
        yield True
        if plan.kind == "touched":
            for name in names:
                os.utime(folder / name, (0, self._chance.randrange(2**33)))  # the past, or the far future
            yield True
        if plan.kind == "again":
            shutil.rmtree(folder)
            yield True
            folder.mkdir()
        if plan.kind == "vanishing":
            for _ in range(20):
                if self._away(folder).exists():
                    break
                yield True
            self.vanish.discard(folder)
            if self._away(folder).exists():
                yield True
                os.rename(self._away(folder), folder)
        for name in names:
            (folder / name).write_bytes(plan.files[name])
        yield True
