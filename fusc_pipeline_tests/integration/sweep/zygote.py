"""A process that has imported everything and forks one child for each `fusc run` it is asked for, by JSON lines.

A run costs a second then, not five, and dies of a fault or a kill without taking anything else along.
"""

import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusc_pipeline_tests.integration.sweep.faults import Faults

ROOT = Path(__file__).resolve().parents[3]
_HEAVY = (
    "torch", "torchvision", "timm", "faiss", "sklearn.cluster", "sklearn.metrics", "cv2", "pandas", "matplotlib.pyplot",
    "pyarrow.dataset", "pyarrow.parquet", "safetensors.torch", "scipy.optimize", "jinja2", "PIL.Image", "pydicom",
)  # fmt: skip
PATIENCE = 300


@dataclass(frozen=True)
class Run:
    """One `fusc run`. what, at: the fault (see `Faults`); kill_after: seconds until its process group is killed."""

    root: str
    home: str
    preset: str
    selection: str = "*"
    what: str = ""
    at: int | str = 0
    kill_after: float = 0.0


@dataclass(frozen=True)
class Ended:
    """code: exit status, minus the signal's number where one ended it; seen: operations, and met: whether the fault's
    was among them, when not killed."""

    code: int
    seconds: float
    said: str
    seen: list[str]
    met: bool


class Zygote:
    """The process, and runs in its children."""

    def __init__(self, folder: Path):
        self._out = folder / "said.txt"
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "FUSC_CHECKPOINT_SECONDS": "0",
            "FUSC_LOCKS": str(folder / "device_locks"),
        }
        environment.pop("FUSC_PRESET", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(self, run: Run) -> Ended:
        self._process.stdin.write(json.dumps(asdict(run)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ended(**answer, said=self._out.read_text(errors="replace"))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def _serve(out: str) -> None:
    from fusc_pipeline_tests.integration.sweep.tiny import cheap

    for name in _HEAVY:
        importlib.import_module(name)
    import torch

    import fusc_pipeline.cli.runner

    torch.set_num_threads(1)
    cheap()
    definitions = fusc_pipeline.cli.runner.build_definitions()  # its data root is FUSC_DATA's at the time of a run
    definitions.resolve_implicit_global_asset_job_def()
    fusc_pipeline.cli.runner.build_definitions = lambda: definitions
    answers = os.dup(1)
    for number, line in enumerate(sys.stdin):
        asked = Run(**json.loads(line))
        if number == 0:
            _warm(asked)
        seen = Path(f"{out}.seen")
        seen.unlink(missing_ok=True)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            _be(asked, out, seen)
        code = _wait(child, asked.kill_after or PATIENCE)
        answer: dict[str, Any] = {"code": code, "seconds": round(time.monotonic() - began, 3)}
        answer |= json.loads(seen.read_text()) if seen.exists() else {"seen": [], "met": False}
        os.write(answers, (json.dumps(answer) + "\n").encode())


def _warm(asked: Run) -> None:
    """Run what trains nothing once here, on copies, so that every child begins with what Dagster works out once."""
    from fusc_pipeline.cli.runner import run
    from fusc_pipeline_tests.integration.sweep.tiny import BATCH

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ |= {"FUSC_DATA": f"{folder}/data", "DAGSTER_HOME": f"{folder}/home"}
        shutil.copytree(asked.root, f"{folder}/data")
        shutil.copytree(asked.home, f"{folder}/home")
        settings = Path(folder, "home", "dagster.yaml")
        settings.write_text(settings.read_text().replace(asked.home, f"{folder}/home"))
        run(BATCH, asked.preset, 'key:"corpus" or key:"scans"', [])


def _wait(child: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):  # it has not come as far as to lead a group of its own
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.005)


def _be(asked: Run, out: str, seen: Path) -> None:
    """The child: `fusc run`, and nothing after it."""
    import traceback

    code = 1
    try:
        os.setsid()
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.environ |= {"FUSC_DATA": asked.root, "DAGSTER_HOME": asked.home}
        faults = Faults(Path(asked.root), asked.what, asked.at)
        faults.arm()
        from fusc_pipeline.cli.main import main
        from fusc_pipeline_tests.integration.sweep.tiny import BATCH

        code = main(["run", "--batch", BATCH, "--preset", asked.preset, "--select", asked.selection])
        sys.stdout.flush()
        faults.what = ""
        seen.write_text(json.dumps({"seen": faults.seen, "met": faults.met}))
    except BaseException:  # noqa: BLE001 - told in the output; nothing of the parent may go on in this process
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
