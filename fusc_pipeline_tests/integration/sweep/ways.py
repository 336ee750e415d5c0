"""The whole graph by Dagster's multiprocess executor, and by its daemon, while every step's process is killed once as
it makes its output. The run is started again, as a person would; the daemon does that by itself.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import dagster as dg
import yaml

from fusc_pipeline_tests.integration.service import wait_for
from fusc_pipeline_tests.integration.sweep import tiny
from fusc_pipeline_tests.integration.sweep.compare import contents, differences
from fusc_pipeline_tests.integration.sweep.stage import Stage
from fusc_pipeline_tests.integration.sweep.zygote import ROOT

BIN = Path(sys.executable).parent
MODULE = "fusc_pipeline_tests.integration.sweep.swept"
MOST_RUNS = 30


def multiprocess(stage: Stage, operations: Mapping[str, int], seed: int, wanted: Mapping[str, str]) -> list[str]:
    """`dagster asset materialize` until it ends well; what is wrong then. operations: how many each asset's making
    has; each is killed before one of them, by the seed."""
    with _killing(stage, operations, seed) as environment:
        command = [
            "asset",
            "materialize",
            "--select",
            "*",
            "--partition",
            tiny.BATCH,
            "-m",
            MODULE,
            "--config",
            _config(stage),
        ]
        for _ in range(MOST_RUNS):
            done = subprocess.run(
                [BIN / "dagster", *command],
                env=environment,
                cwd=stage.folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                return _wrong(stage, operations, wanted)
            if not done.stderr.count("STEP_FAILURE"):
                return [f"a run ended with {done.returncode}, and no step of it did: {done.stderr[-1500:]}"]
    return [f"{MOST_RUNS} runs did not end well: {done.stderr[-1500:]}"]


def daemon(stage: Stage, operations: Mapping[str, int], seed: int, wanted: Mapping[str, str]) -> list[str]:
    """One run, asked for once; the daemon tries it again (as often as it takes) until it ends well."""
    settings = stage.home / "dagster.yaml"
    with _killing(stage, operations, seed) as environment:
        settings.write_text(settings.read_text().replace("max_retries: 1", f"max_retries: {MOST_RUNS}"))
        environment["SWEPT_CONFIG"] = _config(stage)
        with open(stage.folder / "daemon.log", "w") as log:
            process = subprocess.Popen(
                [BIN / "dagster-daemon", "run", "-m", MODULE], env=environment, cwd=stage.folder, stdout=log, stderr=log
            )
        try:
            with dg.DagsterInstance.from_config(str(stage.home)) as instance:
                success = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
                wait_for("a run that ends well", lambda: instance.get_runs(filters=success), seconds=1800)
        finally:
            process.terminate()
            process.wait()
    return _wrong(stage, operations, wanted)


def _wrong(stage: Stage, operations: Mapping[str, int], wanted: Mapping[str, str]) -> list[str]:
    spared = set(operations) - {path.name for path in (stage.folder / "fired").iterdir()}
    return [f"never killed: {asset}" for asset in sorted(spared)] + differences(contents(stage.root), dict(wanted))


def _config(stage: Stage) -> str:
    """The run's settings, as a file; step processes are forked from one that has loaded the definitions."""
    fork = {"forkserver": {"preload_modules": [MODULE]}}
    settings = yaml.safe_load(tiny.SETTINGS)
    settings["execution"] = {"config": {"multiprocess": {"max_concurrent": 2, "start_method": fork}}}
    path = stage.folder / "run.json"
    path.write_text(json.dumps(settings))
    return str(path)


@contextlib.contextmanager
def _killing(stage: Stage, operations: Mapping[str, int], seed: int) -> Iterator[dict[str, str]]:
    """The environment of runs whose steps are killed."""
    stage.reset()
    fired, asked = stage.folder / "fired", stage.folder / "asked.json"
    fired.mkdir()
    draw = Random(seed)
    at = {asset: draw.randint(1, number) for asset, number in operations.items()}
    asked.write_text(json.dumps({"root": str(stage.root), "fired": str(fired), "at": at}))
    yield os.environ | {
        "FUSC_DATA": str(stage.root),
        "DAGSTER_HOME": str(stage.home),
        "FUSC_LOCKS": str(stage.folder / "device_locks"),
        "FUSC_CHECKPOINT_SECONDS": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "SWEPT": str(asked),
    }
    for path in fired.iterdir():
        path.unlink()
    fired.rmdir()
