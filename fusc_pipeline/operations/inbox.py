"""Where a batch's delivered files lie: the registry that `fusc add-batch` writes and the `scans` asset reads.

The registry holds local paths, so it stays in the private folder of the data root (mode 0700) and goes nowhere else.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.host.atomic import replace_text
from fusc_pipeline.scans.folder_content import folder_listing, read_content
from fusc_pipeline.scans.identity import KeyRing, load_key


class Inbox:
    """Folders of delivered scans under one data root."""

    def __init__(self, root: Path):
        self.root = Path(root).absolute()
        self.private = self.root / "private"
        self.key_file = self.private / "hmac.key"

    def keys(self) -> KeyRing:
        """The keys that patients, studies and files are hashed with. Raises BadSetting as `load_key` does."""
        return load_key(self.key_file)

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
        known = self._known(batch)
        changes: dict = {"folder": str(Path(folder).resolve())}
        if layout is not None:
            changes |= {"layout": layout, "views": list(views)}
        if external is not None:
            changes |= {"external": external}
        self._write(self._entry(batch), known | changes)

    def check(self, batch: str, folder: Path) -> None:
        """Raise BadInput when the folder is missing, empty or the data root's own, or the key names another one."""
        folder = Path(folder).resolve()
        if not folder.is_dir():
            raise BadInput(f"{folder} is not a folder; give the folder that holds the delivered scans")
        root = self.root.resolve()
        own = any(folder.is_relative_to(root / name) for name in ("assets", "private"))
        if own or root.is_relative_to(folder) or folder == self.drop.resolve():
            raise BadInput(f"{folder} holds what the pipeline keeps itself; give the folder of one delivery")
        if not any(folder.iterdir()):
            raise BadInput(f"{folder} is empty; copy the delivered scans into it, then add the batch again")
        known = self._known(batch).get("folder")
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
        if folder.parent == self.drop.resolve():
            return folder.name
        known = self.registered()
        for batch, place in known.items():
            if place == folder:
                return batch
        return next(key for key in (f"batch-{number:04d}" for number in itertools.count(1)) if key not in known)

    def folder(self, batch: str) -> Path:
        """The batch's folder: the registered one, else `<root>/inbox/<batch>`; raises BadInput when neither exists."""
        known = self._read(batch)
        folder = Path(known["folder"]) if known else self.drop / batch
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
        return folder_listing(self.folder(batch))

    def content(self, batch: str, folder: Path | None = None) -> tuple[str, str]:
        """(listing, hash of the content) of the batch's folder; files that did not change are not hashed again.

        The listing is empty when the folder changed meanwhile.

        folder: of a batch that is not registered yet. The hash is of delivered bytes: key it before it is written into
        anything but the private folder. Raises as `scans.folder_content.read_content` does.
        """
        folder = folder or self.folder(batch)
        memo = self.private / "contents" / f"{batch}.json"
        known = _read_memo(memo)
        listing = folder_listing(folder)
        if known.get("listing") == listing:
            return listing, known["content"]
        found = read_content(folder, known.get("files", {}))
        # A folder that changed meanwhile is looked at again the next time; its files are known nevertheless.
        listing = listing if folder_listing(folder) == listing else ""
        self._write(memo, {"listing": listing, "content": found.hash, "files": dict(found.facts)})
        return listing, found.hash

    def registered(self) -> dict[str, Path]:
        """Every registered batch and its folder, sorted by key."""
        keys = sorted(path.stem for path in (self.private / "batches").glob("*.json"))
        return {key: Path(entry["folder"]) for key in keys if (entry := self._read(key))}

    @property
    def drop(self) -> Path:
        """The folder that deliveries are dropped into, one folder each."""
        return self.root / "inbox"

    def looks(self) -> dict:
        """What `keep_looks` kept, {} at first."""
        return _read_memo(self.private / "arrivals.json")

    def keep_looks(self, looks: Mapping) -> None:
        """Keep what was seen of the inbox, for the next look (names of folders are in it: owner only)."""
        self._write(self.private / "arrivals.json", dict(looks))

    def remember_names(self, batch: str, names: Mapping[str, str], passed_over: Mapping[str, str]) -> None:
        """Keep which file (path within the batch) stands behind each file_key, and which were no scans to be read and
        why, for the owner only (mode 0600)."""
        self._write(self.private / "files" / f"{batch}.json", dict(names))
        self._write(self.private / "passed_over" / f"{batch}.json", dict(passed_over))

    def file_names(self, batch: str) -> dict[str, str]:
        """file_key -> path within the batch; empty when the batch was never read here. Raises BadInput for names that
        cannot be read."""
        try:
            return _read_json(self.private / "files" / f"{batch}.json")
        except _Damaged as damage:
            raise BadInput(
                f"{damage}; read the batch again: fusc run --batch {batch} --select scans --set scans.force=true"
            ) from None

    def passed_over(self, batch: str) -> dict[str, str]:
        """Path within the batch -> why the file was passed over; empty when the batch was never read here."""
        return _read_json(self.private / "passed_over" / f"{batch}.json")

    def _write(self, path: Path, content: dict) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.private.chmod(0o700)
        replace_text(path, json.dumps(content), mode=0o600)

    def _entry(self, batch: str) -> Path:
        return self.private / "batches" / f"{batch}.json"

    def _read(self, batch: str) -> dict:
        """The batch's entry, {} where it was never registered. Raises BadInput for one that cannot be read: without it
        nobody knows whether the batch is external, so that it must not be taken for a new one."""
        try:
            return _read_entry(self._entry(batch))
        except _Damaged as damage:
            raise BadInput(
                f"{damage}, so that it is not known where batch {batch!r} lies; add the batch again, with the --layout "
                f"and --external it had: fusc add-batch <folder> --key {batch}"
            ) from None

    def _known(self, batch: str) -> dict:
        """The batch's entry for who is about to write it: {} also for one that cannot be read."""
        try:
            return _read_entry(self._entry(batch))
        except _Damaged:
            return {}


class _Damaged(Exception):
    """A file of the private folder that is cut short or was changed by hand."""


def _read_json(path: Path) -> dict:
    """What `_write` wrote, {} without a file. Raises _Damaged for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _Damaged(f"{path} cannot be read (cut short?)")
    return found


def _read_entry(path: Path) -> dict:
    """As `_read_json`, of an entry of the registry, which names a folder."""
    found = _read_json(path)
    if found and not isinstance(found.get("folder"), str):
        raise _Damaged(f"{path} names no folder")
    return found


def _read_memo(path: Path) -> dict:
    """As `_read_json`, of what is only remembered to save work: {} also for one that cannot be read."""
    try:
        return _read_json(path)
    except _Damaged:
        return {}
