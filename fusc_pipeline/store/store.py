"""The artefact store: every output of every asset, versioned by fingerprint, written atomically, verified on reuse.

Layout under the data root (`FUSC_DATA`, default `./data`):

    assets/<asset>/<partition or _>/<version>/   the files of one version, `_fingerprint.json` written last
    assets/<asset>/<partition or _>/current      the name of the version in use, replaced atomically
    work/<asset>/<partition or _>/<key>/         what a killed run left to continue from (parts, checkpoints); goes once
                                                 what was made of it is published, and never before
    locks/<asset>/<partition or _>.lock          held by the run that makes a version (`alone`)

A version is invisible until its fingerprint file stands and `current` names it; a crash leaves the last good one. It is
whole when it holds every file that its asset declared: checked before it is published, and whenever it is used again.
No dagster here: the store works in a notebook.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.hashing import digest, sha256_file
from fusc_pipeline.base.schemas import TABLES
from fusc_pipeline.host.atomic import (
    fsync,
    remove_folder,
    replace_folder,
    replace_text,
    settle,
    sync_folder,
    temporary_name,
    write_text,
)
from fusc_pipeline.host.locks import exclusive
from fusc_pipeline.store.check_results import VERDICTS, Verdict, read_verdicts, verdicts_text
from fusc_pipeline.store.draft import TABLE, Draft, check_schema
from fusc_pipeline.store.records import RECORD, Recipe, Record, is_intact, lacking, read_record

if TYPE_CHECKING:
    import pyarrow.dataset as pads

CURRENT = "current"
PUBLISHED = "_published"  # in a work folder: which version was made of it; until that stands, the work is needed
WHOLE = "_"  # folder name of an unpartitioned asset
KEEP_VERSIONS = 3  # superseded versions kept, so that going back to an earlier configuration costs nothing
# Pixels that may still name somebody, and words read from them: folders 0700, files 0600, whatever the umask.
PRIVATE_ASSETS = frozenset({"scans", "burned_in_text"})


class Store:
    """Read and write asset outputs under `root`. Raises BadSetting when the root cannot be used."""

    def __init__(self, root: str | os.PathLike[str]):
        if "://" in str(root):
            raise BadSetting(f"FUSC_DATA={root}: only a local folder is supported so far; give a path")
        self.root = Path(root).absolute()
        self.private = self.root / "private"  # the owner's: key, local paths, file names, words of errors

    # -- reading ------------------------------------------------------------------------------------------------

    def record(self, asset: str, partition: str | None = None) -> Record | None:
        """The record of the version in use, or None when the asset was never made."""
        slot = self._slot(asset, partition)
        version = self._current(slot)
        return read_record(slot / version) if version else None

    def is_lost(self, asset: str, partition: str | None = None) -> bool:
        """Whether versions are there though none is known to be in use: its name or its record cannot be read."""
        slot = self._slot(asset, partition)
        return self.record(asset, partition) is None and any(path.is_dir() for path in slot.glob("[!.]*/"))

    def require(self, asset: str, partition: str | None = None) -> Record:
        """As `record`, but raises BadInput with the command to run when there is none."""
        found = self.record(asset, partition)
        if found is None:
            where = f" for batch {partition!r}" if partition else ""
            option = f" --partition {partition}" if partition else ""
            raise BadInput(
                f"{asset} has not been made{where}; run: dagster asset materialize "
                f"--select '+key:\"{asset}\"'{option} -m fusc_pipeline.definitions"
            )
        return found

    def refusal(self, asset: str, partition: str | None = None) -> str | None:
        """Why nothing may be built on the version in use: the words of a blocking check that it failed; else None."""
        found = self.record(asset, partition)
        return None if found is None else self.refusal_of(found)

    def refusal_of(self, record: Record) -> str | None:
        """As `refusal`, of this version."""
        verdicts = read_verdicts(self.place(record)).values()
        return next((f"{v.check}: {v.description}" for v in verdicts if v.blocks and not v.passed), None)

    def verdicts(self, asset: str, partition: str | None = None) -> dict[str, Verdict]:
        """What checks said of the version in use, by check."""
        found = self.record(asset, partition)
        return read_verdicts(self.place(found)) if found else {}

    def keep_verdict(self, record: Record, verdict: Verdict) -> None:
        """Keep what a check said of the version of this record, in place of what it said of it before; nothing where
        another was published in its place meanwhile."""
        folder = self.place(record)
        now = read_record(folder)
        if now is None or now.created != record.created:
            return
        mode = 0o600 if record.asset in PRIVATE_ASSETS else 0o666
        replace_text(folder / VERDICTS, verdicts_text(read_verdicts(folder) | {verdict.check: verdict}), mode)

    def versions(self, asset: str, partition: str | None = None) -> list[Record]:
        """Every whole version that is kept, the newest first; the one in use is among them."""
        slot = self._slot(asset, partition)
        found = [read_record(folder) for folder in slot.glob("[!.]*/")] if slot.is_dir() else []
        return sorted((record for record in found if record), key=lambda record: record.created, reverse=True)

    def place(self, record: Record) -> Path:
        """The folder of a version, in use or not."""
        return self._slot(record.asset, record.partition) / _version(record.fingerprint)

    def outdated_by(self, asset: str) -> str | None:
        """The asset before this one (not per batch) whose version is another by now than the one this was made from.

        None when everything this output was made from, however far back, is still in use. Raises BadInput when the
        asset was never made.
        """
        for name, version in self.require(asset).inputs.items():
            if name not in TABLES and not name.endswith("_encoder"):
                continue  # a hash of something that is no asset
            before = self.record(name)
            if before is None or before.data_version != version:
                return name
            if deeper := self.outdated_by(name):
                return deeper
        return None

    def folder(self, asset: str, partition: str | None = None) -> Path:
        """Folder of the version in use; raises BadInput when there is none."""
        return self.place(self.require(asset, partition))

    def dataset(self, asset: str, partition: str | None = None) -> "pads.Dataset":
        """The asset's table, opened lazily; raises BadInput when its columns are not those of its schema."""
        import pyarrow.dataset as pads  # here: it brings pandas with it

        path = self.folder(asset, partition) / TABLE
        found = pads.dataset(path, format="parquet")
        check_schema(found.schema, TABLES[asset], f"{asset} ({path})")
        return found

    def table(self, asset: str, partition: str | None = None, columns: list[str] | None = None) -> pa.Table:
        """The asset's table, or some of its columns, in memory; raises BadInput as `dataset` does."""
        return self.table_of(self.require(asset, partition), columns)

    def table_of(self, record: Record, columns: list[str] | None = None) -> pa.Table:
        """As `table`, of this version."""
        import pyarrow.parquet as pq  # unlike pyarrow.dataset it brings no pandas

        path = self.place(record) / TABLE
        with pq.ParquetFile(path) as file:
            check_schema(file.schema_arrow, TABLES[record.asset], f"{record.asset} ({path})")
            found = file.read(columns=columns)
        return found if columns is None else found.select(columns)

    def slots(self) -> list[tuple[str, str | None]]:
        """(asset, batch) of every output that has a folder, sorted; None: it is made once for the whole corpus."""
        folders = (path for path in (self.root / "assets").glob("[!.]*/[!.]*/") if path.is_dir())
        found = [(path.parent.name, None if path.name == WHOLE else path.name) for path in folders]
        return sorted(found, key=lambda slot: (slot[0], slot[1] or ""))

    def partitions(self, asset: str) -> list[str]:
        """Partitions of the asset that have a version in use, sorted."""
        base = self.root / "assets" / asset
        return sorted(p.parent.name for p in base.glob(f"*/{CURRENT}") if p.parent.name != WHOLE)

    def lacking(self, record: Record, holds: Iterable[str] = ()) -> list[str]:
        """Names of files that this version must hold and does not, by names and sizes; see `records.lacking`."""
        return lacking(self.place(record), record, holds)

    def find(self, asset: str, partition: str | None, fingerprint: str, holds: Iterable[str] = ()) -> Record | None:
        """A version with this fingerprint that holds these files and whatever it was published with, all with their
        hashes, put in use; else None."""
        slot = self._slot(asset, partition)
        folder = slot / _version(fingerprint)
        found = read_record(folder)
        if found is None or found.fingerprint != fingerprint or not is_intact(folder, found, holds):
            return None
        if self._current(slot) != folder.name:
            replace_text(slot / CURRENT, folder.name)
        os.utime(folder)
        return found

    def damaged(self, asset: str, partition: str | None, fingerprint: str, holds: Iterable[str] = ()) -> list[str]:
        """Names of files that the version with this fingerprint lacks; none where there is no such version."""
        record = read_record(self._slot(asset, partition) / _version(fingerprint))
        return self.lacking(record, holds) if record else []

    def same_recipe(self, asset: str, partition: str | None, recipe: str) -> Record | None:
        """The version in use, when it was made by this recipe (from other inputs perhaps) and is intact."""
        found = self.record(asset, partition)
        if found is None or found.recipe != recipe:
            return None
        return found if is_intact(self.place(found), found) else None

    # -- writing ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def exclusive(
        self, asset: str, partition: str | None, waiting: Callable[[str], None] | None = None
    ) -> Iterator[bool]:
        """Be the only one, on this machine, that makes this output; yields whether another was at it before.

        Held around `write`: two runs on one batch take turns, and the second finds what the first has made. The kernel
        frees it when the process dies, so no checkpoint folder is ever used by two trainers or locked by none.
        """
        what = f"{asset} of batch {partition}" if partition else asset
        slot = self._slot(asset, partition)
        lock = self.root / "locks" / asset / f"{slot.name}.lock"
        with exclusive(lock, f"another run that makes {what}", waiting) as waited:
            self.sweep(asset, partition)
            yield waited

    def sweep(self, asset: str, partition: str | None) -> None:
        """Clear away what a kill or a power loss left of making this output. The caller holds its lock."""
        settle(self._slot(asset, partition), _sound)
        for done in self.finished_work(asset, partition):
            remove_folder(done)

    def finished_work(self, asset: str, partition: str | None) -> list[Path]:
        """Work folders whose version was published: their run was killed before it could clear them.

        No later run may go on from these: with `force` it is to compute everything anew.
        """
        slot = self._slot(asset, partition)
        found = []
        for mark in sorted((self.root / "work" / asset / slot.name).glob(f"[!.]*/{PUBLISHED}")):
            version, _, sha = _line(mark).partition(" ")
            record = slot / version / RECORD
            if version and record.is_file() and sha256_file(record) == sha:
                found.append(mark.parent)
        return found

    @contextlib.contextmanager
    def write(
        self,
        asset: str,
        partition: str | None,
        recipe: Recipe,
        inputs: Mapping[str, str],
        *,
        model: bool = False,
        incremental: bool = False,
        holds: Iterable[str] = (),
    ) -> Iterator[Draft]:
        """Write one version: yield a draft; when the block ends well, publish it, else leave no trace of it.

        model: the data version is the fingerprint (training is not bit-stable across machines), unless it is made again
        under a fingerprint that stands and says something else than before; for data it is the hash of the contents, so
        that a re-made but equal table leaves everything after it fresh.
        incremental: the work folder outlives a change of the inputs (it holds rows by image); else what a killed run
        left is continued only from the very same inputs.
        holds: names of files without which it is no whole version. Raises ValueError, and publishes nothing, when the
        block left one of them out.
        """
        slot = self._slot(asset, partition)
        fingerprint = recipe.fingerprint(inputs)
        target = slot / _version(fingerprint)
        work = self.work(asset, partition, recipe.key if incremental else fingerprint)
        slot.mkdir(parents=True, exist_ok=True)
        if asset in PRIVATE_ASSETS:
            slot.parent.chmod(0o700)
        draft_folder = temporary_name(target)
        draft_folder.mkdir(mode=0o700 if asset in PRIVATE_ASSETS else 0o777)
        began = time.monotonic()
        try:
            draft = Draft(draft_folder, recipe, work, TABLES.get(asset), asset)
            yield draft
            paths = {path.relative_to(draft_folder).as_posix(): path for path in _files(draft_folder)}
            if left_out := sorted({*holds} - {*paths}):
                raise ValueError(f"{asset} was made without {', '.join(left_out)}; nothing was published")
            files = {name: sha256_file(path) for name, path in paths.items()}
            content = digest(files | draft.told)
            record = Record(
                asset=asset,
                partition=partition,
                fingerprint=fingerprint,
                recipe=recipe.key,
                data_version=_model_version(target, fingerprint, content) if model else content,
                inputs=dict(inputs),
                config=dict(recipe.config),
                files=files,
                metadata=draft.metadata,
                created=time.time(),
                seconds=round(time.monotonic() - began, 3),
                code_version=recipe.code_version,
                extra=dict(recipe.extra),
                sizes={name: path.stat().st_size for name, path in paths.items()},
                holds=sorted(holds),
                content=content,
            )
            if asset in PRIVATE_ASSETS:
                for path in draft_folder.rglob("*"):
                    path.chmod(0o700 if path.is_dir() else 0o600)
            self._publish(slot, draft_folder, record, work)
        except BaseException:
            shutil.rmtree(draft_folder, ignore_errors=True)
            raise

    def work(self, asset: str, partition: str | None, key: str) -> Path:
        """Folder in which a run leaves what its successor, after a kill, continues from."""
        folder = self.root / "work" / asset / (partition or WHOLE) / key[:16]
        folder.mkdir(parents=True, exist_ok=True)
        if asset in PRIVATE_ASSETS:
            folder.parents[1].chmod(0o700)
        return folder

    def _publish(self, slot: Path, draft: Path, record: Record, work: Path) -> None:
        """Let a draft become the version in use; then, and not before, clear what it was made of."""
        mode = 0o600 if record.asset in PRIVATE_ASSETS else 0o666
        text = json.dumps(asdict(record), indent=1, sort_keys=True)
        write_text(draft / RECORD, text, mode)
        sync_folder(draft)
        version = _version(record.fingerprint)
        if any(work.iterdir()):  # a kill from here on leaves it; `finished_work` then knows that it has served
            write_text(work / PUBLISHED, f"{version} {sha256(text.encode()).hexdigest()}", mode)
        replace_folder(draft, slot / version)
        replace_text(slot / CURRENT, version)
        fsync(slot)
        with contextlib.suppress(OSError):  # what cannot be cleared now is cleared by the next run, or `fusc gc`
            remove_folder(work)
            for old in self._superseded(slot, version):
                remove_folder(old)

    def _superseded(self, slot: Path, in_use: str) -> list[Path]:
        """Versions beyond those that are kept, never the one in use."""
        versions = sorted((p for p in slot.iterdir() if p.is_dir() and not p.name.startswith(".")), key=_mtime)
        return [path for path in versions[:-KEEP_VERSIONS] if path.name != in_use]

    def _current(self, slot: Path) -> str:
        """Folder name of the version in use, empty when there is none."""
        return _line(slot / CURRENT)

    def _slot(self, asset: str, partition: str | None) -> Path:
        name = partition or WHOLE
        if "/" in name or "\\" in name or name in (".", "..") or name.startswith("."):
            raise BadSetting(f"batch key {name!r} cannot name a folder; use letters, digits, dot, dash, underscore")
        return self.root / "assets" / asset / name


def _version(fingerprint: str) -> str:
    return fingerprint[:16]


def _model_version(target: Path, fingerprint: str, content: str) -> str:
    """The data version of a model: its fingerprint, unless another model stands, or stood damaged, under it.

    What was built on that one was built on other weights, so it has to be told apart.
    """
    before = read_record(target)
    if before is not None and before.content == content:
        return before.data_version
    return digest([fingerprint, content]) if target.exists() else fingerprint


def _line(path: Path) -> str:
    """What a file of one line says; empty where there is none that can be read as such."""
    try:
        return path.read_text().strip()
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        return ""


def _mtime(path: Path) -> float:
    return path.stat().st_mtime


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (RECORD, VERDICTS))


def _sound(folder: Path) -> bool:
    """Whether a folder holds a whole version."""
    record = read_record(folder)
    return record is not None and not lacking(folder, record)
