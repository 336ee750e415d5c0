"""What a training over several processes is given, and what it leaves, as files: the launcher and the ranks share it.

job.json         the task; input.npz beside it: rows and labels
metrics.jsonl    one line an epoch, as it ends
refusal.json     why the settings or the data were refused
result/          weights.safetensors, projection.safetensors, history.json: written when it is done
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusc_pipeline.base import errors
from fusc_pipeline.base.errors import BadSetting, FuscError
from fusc_pipeline.host.atomic import replace_text

PARENT = "FUSC_TRAINER_PARENT"  # the process that started this one, which it is not to outlive
_JOB, _INPUT, _METRICS, _REFUSAL, _RESULT = "job.json", "input.npz", "metrics.jsonl", "refusal.json", "result"


@dataclass(frozen=True)
class Job:
    """folder: of the files above; pixels: folder of the pixel cache; checkpoint: its file; config: of SimCLR; device:
    "cuda" or "cpu"; threads: of each rank; monitor_every: epochs (see `monitor`)."""

    folder: str
    pixels: str
    checkpoint: str
    config: dict[str, Any]
    device: str
    threads: int
    monitor_every: int

    def write(self, ids: list[str], labels: np.ndarray, train: list[int], test: list[int]) -> None:
        """Put the job into its folder, and clear what an earlier attempt told."""
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (self.metrics, folder / _REFUSAL):
            stale.unlink(missing_ok=True)
        np.savez(folder / _INPUT, ids=np.array(ids), labels=labels, train=train, test=test)
        replace_text(self.path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Job":
        return cls(**json.loads(path.read_text()))

    def input(self) -> dict[str, np.ndarray]:
        """ids (N,), labels (N,), and the row numbers of each split."""
        with np.load(Path(self.folder) / _INPUT) as found:
            return dict(found)

    @property
    def path(self) -> Path:
        return Path(self.folder) / _JOB

    @property
    def metrics(self) -> Path:
        return Path(self.folder) / _METRICS

    @property
    def result(self) -> Path:
        return Path(self.folder) / _RESULT

    def refuse(self, why: FuscError) -> None:
        """Tell the launcher that trying again would not help."""
        replace_text(Path(self.folder) / _REFUSAL, json.dumps({"kind": type(why).__name__, "words": str(why)}))

    def refusal(self) -> FuscError | None:
        """What `refuse` told."""
        try:
            found = json.loads((Path(self.folder) / _REFUSAL).read_text())
        except FileNotFoundError:
            return None
        return getattr(errors, found["kind"], FuscError)(found["words"])


def ranks_for(asked: int, devices: int, batch: int) -> int:
    """How many processes train: as asked; for 0, as many as there are devices and as the batch divides among.

    Each has two images of a step or more. Raises BadSetting when the batch does not divide among those asked for.
    """
    fitting = [n for n in range(1, max(asked, devices) + 1) if n == 1 or (batch % n == 0 and batch // n >= 2)]
    if asked and asked not in fitting:
        raise BadSetting(
            f"a batch of {batch} images does not divide among {asked} processes, two or more for each; change "
            "batch_size, or processes (0: as many as fit)"
        )
    return asked or max(n for n in fitting if n <= devices)
