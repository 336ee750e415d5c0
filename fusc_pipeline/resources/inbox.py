"""Where a batch's delivered files lie: the registry that `fusc add-batch` writes and the `scans` asset reads.

The registry holds local paths, so it stays in the private folder of the data root (mode 0700) and goes nowhere else.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusc_pipeline.atomic import replace_text
from fusc_pipeline.errors import BadInput
from fusc_pipeline.hashing import digest


class Inbox:
    """Folders of delivered scans under one data root."""

    def __init__(self, root: Path):
        self.root = Path(root).absolute()
        self.private = self.root / "private"

    def register(
        self,
        batch: str,
        folder: Path,
        layout: str | None = None,
        views: Sequence[str] = (),
        external: bool | None = None,
    ) -> None:
        """Remember that `batch` was delivered in `folder`; registering the same folder again changes nothing else.

        layout: how the folder is laid out, one of `scans.datasets.LAYOUTS`; None: as before, `auto` at first. views:
        the folder names that are labels, for `folder_per_view`. external: see `is_external`; None: as before.
        Raises BadInput as `check` does.
        """
        self.check(batch, folder)
        changes: dict = {"folder": str(Path(folder).resolve())}
        if layout is not None:
            changes |= {"layout": layout, "views": list(views)}
        if external is not None:
            changes |= {"external": external}
        self._write(self._entry(batch), self._read(batch) | changes)

    def check(self, batch: str, folder: Path) -> None:
        """Raise BadInput when the folder is missing or empty, or when the key already names another folder."""
        folder = Path(folder).resolve()
        if not folder.is_dir():
            raise BadInput(f"{folder} is not a folder; give the folder that holds the delivered scans")
        if not any(folder.iterdir()):
            raise BadInput(f"{folder} is empty; copy the delivered scans into it, then add the batch again")
        known = self._read(batch).get("folder")
        if known is not None and known != str(folder):
            raise BadInput(
                f"batch {batch!r} already stands for {known}; choose another --key, or add files to that folder"
            )

    def default_key(self, folder: Path) -> str:
        """The key of a folder that is added without one: its own name where it lies in the inbox, else a number.

        A key stands in tables, in the run history and on the page. Who makes a folder in the inbox names it for that;
        any other folder's name may be a patient's. A folder that was added before keeps its key.
        """
        folder = Path(folder).resolve()
        if folder.parent == (self.root / "inbox").resolve():
            return folder.name
        known = {path.stem: self._read(path.stem).get("folder") for path in (self.private / "batches").glob("*.json")}
        for batch, place in sorted(known.items()):
            if place == str(folder):
                return batch
        return next(key for key in (f"batch-{number:04d}" for number in itertools.count(1)) if key not in known)

    def folder(self, batch: str) -> Path:
        """The batch's folder: the registered one, else `<root>/inbox/<batch>`; raises BadInput when neither exists."""
        known = self._read(batch)
        folder = Path(known["folder"]) if known else self.root / "inbox" / batch
        if not folder.is_dir():
            raise BadInput(f"the folder of batch {batch!r} is gone or was never added; run: fusc add-batch <folder>")
        return folder

    def layout(self, batch: str) -> tuple[str, list[str]]:
        """(layout, views) as registered; ("auto", []) for a batch that was only put into the inbox."""
        known = self._read(batch)
        return known.get("layout", "auto"), known.get("views", [])

    def is_external(self, batch: str) -> bool:
        """Whether the batch is another data set, kept out of the corpus: models are tested on it, never trained."""
        return bool(self._read(batch).get("external"))

    def listing(self, batch: str) -> str:
        """A hash of the delivered files' names, sizes and times: what tells a grown or replaced delivery.

        A file that goes away while the folder is listed is left out: the next listing differs from this one.
        """
        folder = self.folder(batch)
        entries = []
        for parent, folders, names in os.walk(folder):
            for name in (*folders, *names):
                with contextlib.suppress(FileNotFoundError):
                    path = Path(parent, name)
                    facts = path.lstat()
                    place = os.fsencode(path.relative_to(folder)).hex()  # a name may be no valid text
                    entries.append((place, facts.st_mode, facts.st_size, facts.st_mtime_ns))
        return digest(sorted(entries))

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
        replace_text(path, json.dumps(content), mode=0o600)

    def _entry(self, batch: str) -> Path:
        return self.private / "batches" / f"{batch}.json"

    def _read(self, batch: str) -> dict:
        try:
            return json.loads(self._entry(batch).read_text())
        except FileNotFoundError:
            return {}
