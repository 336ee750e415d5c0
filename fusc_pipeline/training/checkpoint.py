"""Resumable training checkpoints: one file, written atomically, read with `weights_only=True`.

What goes into one is decided by `fusc_pipeline.training.loop`. Torch is imported when it is needed.
"""

import contextlib
import io
import logging
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.host.atomic import whole_file
from fusc_pipeline.host.locks import exclusive

log = logging.getLogger(__name__)
FORMAT = "fusc-checkpoint-1"
_ZIP_MAGIC = b"PK"  # torch.save writes a zip archive, and so does a torch.save that was cut short


class Checkpoint:
    """The file at `path` for the run identified by `digest` (of its configuration and data).

    `load` gives the saved payload; None where there is no file, or one that is cut short or damaged (a warning says so
    and the run starts again). A sound checkpoint of *another* run is refused with BadInput, so that hours of somebody
    else's training are never overwritten.
    """

    def __init__(self, path: Path, digest: str):
        self.path = Path(path)
        self.digest = digest

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only trainer on this file while the block runs; a second one waits, and finds what the first left."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        with exclusive(lock, "another trainer on this checkpoint", log.warning):
            yield

    def load(self) -> dict[str, Any] | None:
        import torch

        if not self.path.exists():
            return None
        not_ours = BadInput(f"{self.path} is not a checkpoint of this program; move it away or name another path")
        # Read first: an error of the disk is not a damaged checkpoint, and must not cost a training run.
        content = self.path.read_bytes()
        if not zipfile.is_zipfile(io.BytesIO(content)):
            # Empty, cut short, or the zeros that some file systems leave after a power loss; else it is something else.
            if content.startswith(_ZIP_MAGIC) or not content.strip(b"\0"):
                log.warning("checkpoint %s is damaged (it was cut short); training starts again", self.path)
                return None
            raise not_ours
        try:
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError) as error:
            log.warning("checkpoint %s is damaged (%s); training starts again", self.path, _first_line(error))
            return None
        except pickle.UnpicklingError as error:
            raise not_ours from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise not_ours
        if found["digest"] != self.digest:
            raise BadInput(
                f"checkpoint {self.path} belongs to a run with other settings or data "
                f"({found['digest'][:12]}, this run is {self.digest[:12]}); delete it or name another path"
            )
        if "payload" not in found:
            log.warning("checkpoint %s is damaged (it holds no state); training starts again", self.path)
            return None
        return found["payload"]

    def save(self, payload: dict[str, Any]) -> None:
        """Replace the file as a whole: whoever reads it, at any time, finds the old state or the new one."""
        import torch

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as temporary, open(temporary, "wb") as stream:
            torch.save({"format": FORMAT, "digest": self.digest, "payload": payload}, stream)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
