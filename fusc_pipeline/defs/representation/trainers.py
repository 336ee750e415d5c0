"""Training over several processes as part of a step: torchrun is started, followed, and stopped with the step.

Through Dagster's pipes the trainers' words are in the run's log at once; metrics come by a file, as pipes know no
observation. What the trainers do is `training`'s part.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from fusc_pipeline.training.job import PARENT, Job

POLL_SECONDS = 0.2


def train_apart(
    context: dg.AssetExecutionContext,
    job: Job,
    processes: int,
    environment: Mapping[str, str],
    on_epoch: Callable[[dict[str, Any]], None],
) -> Path:
    """Run the job (its files are written) with so many processes; returns the folder of its result.

    environment: what the trainers have beside this process's own, e.g. which devices they see. A refusal of theirs is
    raised here as it is, any other end as RuntimeError, which is tried again and then goes on from the checkpoint.
    """
    command = [sys.executable, "-m", "fusc_pipeline.training.agent", "--standalone"]
    command += ["--nproc-per-node", str(processes), "-m", "fusc_pipeline.representation.train_rank", str(job.path)]
    follow = _Follower(job.metrics, on_epoch)
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesTempFileContextInjector(),
        message_reader=dg.PipesTempFileMessageReader(),
    ) as session:
        known = {**os.environ, **environment, PARENT: str(os.getpid()), "OMP_NUM_THREADS": str(job.threads)}
        # In a session of its own: a Ctrl-C in the terminal is this process's to answer.
        process = subprocess.Popen(command, env={**known, **session.get_bootstrap_env_vars()}, start_new_session=True)
        try:
            while process.poll() is None:
                follow()
                time.sleep(POLL_SECONDS)
            follow()
        finally:
            process.kill()  # its ranks die with it; checkpoints are atomic
            process.wait()
    if process.returncode == 0:
        return job.result
    if refusal := job.refusal():
        raise refusal
    raise RuntimeError(
        f"the trainers ended with code {process.returncode}; what they said is in the step's output (compute logs)"
    )


class _Follower:
    """Hands on the lines of a growing file of JSON, each once it is whole."""

    def __init__(self, path: Path, to: Callable[[dict[str, Any]], None]):
        self._path, self._to, self._read = path, to, 0

    def __call__(self) -> None:
        if not self._path.exists():
            return
        with open(self._path, "rb") as stream:
            stream.seek(self._read)
            whole, end, _ = stream.read().rpartition(b"\n")
        self._read += len(whole) + len(end)
        for line in whole.splitlines():
            self._to(json.loads(line))


def split_rows(splits: list[str], ids: list[str], labels: np.ndarray) -> dict[str, Any]:
    """The arguments of `Job.write` for a corpus."""
    train, test = ([row for row, name in enumerate(splits) if name == part] for part in ("train", "test"))
    return {"ids": ids, "labels": labels, "train": train, "test": test}
