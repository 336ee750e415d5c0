"""Where a batch's delivered files lie: the registry that `fusc add-batch` writes and the `scans` asset reads.

The registry holds local paths, so it stays in the private folder of the data root (mode 0700) and goes nowhere else.
"""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from fusc_pipeline.errors import BadInput
from fusc_pipeline.hashing import digest


class Inbox:
    """Folders of delivered scans under one data root."""

    def __init__(self, root: Path):
        self.root = Path(root).absolute()
        self.private = self.root / "private"

    def register(self, batch: str, folder: Path) -> None:
        """Remember that `batch` was delivered in `folder`; registering the same folder again changes nothing.

        Raises BadInput when the folder is missing or empty, or when the key already names another folder.
        """
        folder = Path(folder).resolve()
        if not folder.is_dir():
            raise BadInput(f"{folder} is not a folder; give the folder that holds the delivered scans")
        if not any(folder.iterdir()):
            raise BadInput(f"{folder} is empty; copy the delivered scans into it, then add the batch again")
        known = self._read(batch)
        if known is not None and known != folder:
            raise BadInput(
                f"batch {batch!r} already stands for {known}; choose another --key, or add files to that folder"
            )
        self._write(self._entry(batch), {"folder": str(folder)})

    def folder(self, batch: str) -> Path:
        """The batch's folder: the registered one, else `<root>/inbox/<batch>`; raises BadInput when neither exists."""
        folder = self._read(batch) or self.root / "inbox" / batch
        if not folder.is_dir():
            raise BadInput(f"the folder of batch {batch!r} is gone or was never added; run: fusc add-batch <folder>")
        return folder

    def listing(self, batch: str) -> str:
        """A hash of the delivered files' names, sizes and times: what tells a grown or replaced delivery."""
        folder = self.folder(batch)
        entries = []
        for path in sorted(folder.rglob("*")):
            facts = path.lstat()
            entries.append((path.relative_to(folder).as_posix(), facts.st_mode, facts.st_size, facts.st_mtime_ns))
        return digest(entries)

    def remember_names(self, batch: str, names: Mapping[str, str]) -> None:
        """Keep which file (path within the batch) stands behind each file_key, for the owner only (mode 0600)."""
        self._write(self.private / "files" / f"{batch}.json", dict(names))

    def file_names(self, batch: str) -> dict[str, str]:
        """file_key -> path within the batch; empty when the batch was never read here."""
        try:
            return json.loads((self.private / "files" / f"{batch}.json").read_text())
        except FileNotFoundError:
            return {}

    def _write(self, path: Path, content: dict) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.private.chmod(0o700)
        temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex[:8]}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w") as stream:
            json.dump(content, stream)
        os.replace(temporary, path)

    def _entry(self, batch: str) -> Path:
        return self.private / "batches" / f"{batch}.json"

    def _read(self, batch: str) -> Path | None:
        try:
            return Path(json.loads(self._entry(batch).read_text())["folder"])
        except FileNotFoundError:
            return None
