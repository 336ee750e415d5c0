"""The artefact store: every output of every asset, versioned by fingerprint, written atomically, verified on reuse.

Layout under the data root (`FUSC_DATA`, default `./data`):

    assets/<asset>/<partition or _>/<version>/   the files of one version, `_fingerprint.json` written last
    assets/<asset>/<partition or _>/current      the name of the version in use, replaced atomically
    work/<asset>/<partition or _>/<key>/         what a killed run left to continue from (parts, checkpoints)
    locks/<asset>/<partition or _>.lock          held by the run that makes a version (`alone`)

A version is invisible until its fingerprint file stands and `current` names it; a crash leaves the last good one.
No dagster here: the store works in a notebook.
"""

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fusc_pipeline.atomic import fsync, replace_text, write_text
from fusc_pipeline.errors import BadInput, BadSetting
from fusc_pipeline.hashing import digest, sha256_file
from fusc_pipeline.locks import exclusive
from fusc_pipeline.resources.verdicts import VERDICTS, Verdict, read_verdicts, verdicts_text
from fusc_pipeline.schemas import TABLES

if TYPE_CHECKING:
    import pyarrow.dataset as pads

RECORD = "_fingerprint.json"
CURRENT = "current"
WHOLE = "_"  # folder name of an unpartitioned asset
KEEP_VERSIONS = 3  # superseded versions kept, so that going back to an earlier configuration costs nothing
# Pixels that may still name somebody, and words read from them: folders 0700, files 0600, whatever the umask.
PRIVATE_ASSETS = frozenset({"scans", "burned_in_text"})


@dataclass(frozen=True)
class Recipe:
    """How an asset is made, apart from its inputs: a change in any of these makes another output."""

    code_version: str
    config: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)  # engine, weights hash, library that decides the result

    @property
    def key(self) -> str:
        """Hash of the recipe (hex)."""
        return digest([self.code_version, dict(self.config), dict(self.extra)])

    def fingerprint(self, inputs: Mapping[str, str]) -> str:
        """Hash of the recipe and of the data versions it is applied to (hex)."""
        return digest([self.key, dict(inputs)])


@dataclass(frozen=True)
class Record:
    """What `_fingerprint.json` holds: provenance of one version and the hash of each of its files."""

    asset: str
    partition: str | None
    fingerprint: str
    recipe: str
    data_version: str
    inputs: dict[str, str]
    config: dict[str, Any]
    files: dict[str, str]  # name -> sha256
    metadata: dict[str, Any]
    created: float  # seconds since 1970, UTC
    seconds: float  # time it took to make
    code_version: str = ""  # of the asset; empty in records of earlier releases
    extra: dict[str, Any] = field(default_factory=dict)  # the recipe's


class Draft:
    """A version being written: a hidden folder that either becomes the version whole or disappears."""

    def __init__(self, folder: Path, recipe: Recipe, work: Path, schema: pa.Schema | None, asset: str):
        self.folder = folder
        self.recipe = recipe
        self.work = work  # survives a kill; shared by all attempts at this recipe
        self.metadata: dict[str, Any] = {}
        self._schema = schema
        self._asset = asset

    def path(self, name: str) -> Path:
        """Where to write the file `name` of this version."""
        return self.folder / name

    def write_table(self, rows: pa.Table | Iterable[pa.Table], name: str = "table.parquet") -> int:
        """Write a table, or a stream of tables (one row group each), as Parquet; returns the row count.

        Raises BadInput when the columns differ from the asset's schema: nothing is cast silently.
        """
        import pyarrow.parquet as pq

        tables = [rows] if isinstance(rows, pa.Table) else rows
        schema = self._schema
        if schema is None:
            raise BadSetting(f"asset {self._asset!r} has no schema: add one to fusc_pipeline.schemas.TABLES")
        count = 0
        with pq.ParquetWriter(self.path(name), schema, compression="zstd") as writer:
            for table in tables:
                check_schema(table.schema, schema, self._asset)
                # equal in names and types; this only attaches the columns' comments
                writer.write_table(pa.Table.from_arrays(table.columns, schema=schema))
                count += table.num_rows
        return count


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
        return _read_record(slot / version) if version else None

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
        """Keep what a check said of the version of this record, in place of what it said of it before."""
        folder = self.place(record)
        mode = 0o600 if record.asset in PRIVATE_ASSETS else 0o666
        replace_text(folder / VERDICTS, verdicts_text(read_verdicts(folder) | {verdict.check: verdict}), mode)

    def versions(self, asset: str, partition: str | None = None) -> list[Record]:
        """Every whole version that is kept, the newest first; the one in use is among them."""
        slot = self._slot(asset, partition)
        found = [_read_record(folder) for folder in slot.glob("[!.]*/")] if slot.is_dir() else []
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

        path = self.folder(asset, partition) / "table.parquet"
        found = pads.dataset(path, format="parquet")
        check_schema(found.schema, TABLES[asset], f"{asset} ({path})")
        return found

    def table(self, asset: str, partition: str | None = None, columns: list[str] | None = None) -> pa.Table:
        """The asset's table, or some of its columns, in memory; raises BadInput as `dataset` does."""
        import pyarrow.parquet as pq  # unlike pyarrow.dataset it brings no pandas

        path = self.folder(asset, partition) / "table.parquet"
        with pq.ParquetFile(path) as file:
            check_schema(file.schema_arrow, TABLES[asset], f"{asset} ({path})")
            found = file.read(columns=columns)
        return found if columns is None else found.select(columns)

    def partitions(self, asset: str) -> list[str]:
        """Partitions of the asset that have a version in use, sorted."""
        base = self.root / "assets" / asset
        return sorted(p.parent.name for p in base.glob(f"*/{CURRENT}") if p.parent.name != WHOLE)

    def find(self, asset: str, partition: str | None, fingerprint: str) -> Record | None:
        """A version with this fingerprint whose files are all there with their hashes, put in use; else None."""
        slot = self._slot(asset, partition)
        folder = slot / _version(fingerprint)
        found = _read_record(folder)
        if found is None or found.fingerprint != fingerprint or not _intact(folder, found):
            return None
        if self._current(slot) != folder.name:
            replace_text(slot / CURRENT, folder.name)
        os.utime(folder)
        return found

    def same_recipe(self, asset: str, partition: str | None, recipe: str) -> Record | None:
        """The version in use, when it was made by this recipe (from other inputs perhaps) and is intact."""
        found = self.record(asset, partition)
        if found is None or found.recipe != recipe:
            return None
        return found if _intact(self.folder(asset, partition), found) else None

    # -- writing ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def alone(self, asset: str, partition: str | None, waiting: Callable[[str], None] | None = None) -> Iterator[bool]:
        """Be the only one, on this machine, that makes this output; yields whether another was at it before.

        Held around `write`: two runs on one batch take turns, and the second finds what the first has made. The kernel
        frees it when the process dies, so no checkpoint folder is ever used by two trainers or locked by none.
        """
        what = f"{asset} of batch {partition}" if partition else asset
        slot = self._slot(asset, partition)
        lock = self.root / "locks" / asset / f"{slot.name}.lock"
        with exclusive(lock, f"another run that makes {what}", waiting) as waited:
            sweep(slot)
            yield waited

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
    ) -> Iterator[Draft]:
        """Write one version: yield a draft; when the block ends well, publish it, else leave no trace of it.

        model: the data version is the fingerprint (training is not bit-stable across machines); for data it is the hash
        of the files' contents, so that a re-made but equal table leaves everything after it fresh.
        incremental: the work folder outlives a change of the inputs (it holds rows by image); else what a killed run
        left is continued only from the very same inputs.
        """
        slot = self._slot(asset, partition)
        fingerprint = recipe.fingerprint(inputs)
        work = self.work(asset, partition, recipe.key if incremental else fingerprint)
        draft_folder = slot / f".{_version(fingerprint)}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        slot.mkdir(parents=True, exist_ok=True)
        if asset in PRIVATE_ASSETS:
            slot.parent.chmod(0o700)
        draft_folder.mkdir(mode=0o700 if asset in PRIVATE_ASSETS else 0o777)
        began = time.monotonic()
        try:
            draft = Draft(draft_folder, recipe, work, TABLES.get(asset), asset)
            yield draft
            files = {p.relative_to(draft_folder).as_posix(): sha256_file(p) for p in _files(draft_folder)}
            record = Record(
                asset=asset,
                partition=partition,
                fingerprint=fingerprint,
                recipe=recipe.key,
                data_version=fingerprint if model else digest(files),
                inputs=dict(inputs),
                config=dict(recipe.config),
                files=files,
                metadata=draft.metadata,
                created=time.time(),
                seconds=round(time.monotonic() - began, 3),
                code_version=recipe.code_version,
                extra=dict(recipe.extra),
            )
            for path in _files(draft_folder):
                fsync(path)
            write_text(draft_folder / RECORD, json.dumps(asdict(record), indent=1, sort_keys=True))
            if asset in PRIVATE_ASSETS:
                for path in draft_folder.rglob("*"):
                    path.chmod(0o700 if path.is_dir() else 0o600)
            self._publish(slot, draft_folder, fingerprint)
        except BaseException:
            shutil.rmtree(draft_folder, ignore_errors=True)
            raise
        shutil.rmtree(work, ignore_errors=True)

    def work(self, asset: str, partition: str | None, key: str) -> Path:
        """Folder in which a run leaves what its successor, after a kill, continues from."""
        folder = self.root / "work" / asset / (partition or WHOLE) / key[:16]
        folder.mkdir(parents=True, exist_ok=True)
        if asset in PRIVATE_ASSETS:
            folder.parents[1].chmod(0o700)
        return folder

    def _publish(self, slot: Path, draft: Path, fingerprint: str) -> None:
        target = slot / _version(fingerprint)
        if target.exists():  # same fingerprint, but forced or damaged: step aside, then replace
            aside = slot / f".{target.name}.old-{uuid.uuid4().hex[:8]}"
            os.replace(target, aside)
            os.replace(draft, target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.replace(draft, target)
        fsync(slot)
        replace_text(slot / CURRENT, target.name)
        versions = sorted((p for p in slot.iterdir() if p.is_dir() and not p.name.startswith(".")), key=_mtime)
        for old in versions[:-KEEP_VERSIONS]:
            if old != target:
                shutil.rmtree(old, ignore_errors=True)

    def _current(self, slot: Path) -> str:
        """Folder name of the version in use, empty when there is none."""
        try:
            return (slot / CURRENT).read_text().strip()
        except FileNotFoundError:
            return ""

    def _slot(self, asset: str, partition: str | None) -> Path:
        name = partition or WHOLE
        if "/" in name or "\\" in name or name in (".", "..") or name.startswith("."):
            raise BadSetting(f"batch key {name!r} cannot name a folder; use letters, digits, dot, dash, underscore")
        return self.root / "assets" / asset / name


def check_schema(found: pa.Schema, expected: pa.Schema, what: str) -> None:
    """Raise BadInput naming the columns that are missing, unknown or of another type."""
    want = {f.name: f.type for f in expected}
    have = {f.name: f.type for f in found}
    wrong = [f"{n}: {have[n]} instead of {want[n]}" for n in want if n in have and not have[n].equals(want[n])]
    problems = [f"missing {sorted(set(want) - set(have))}"] * (not set(want) <= set(have))
    problems += [f"unknown {sorted(set(have) - set(want))}"] * (not set(have) <= set(want))
    problems += [f"wrong type {wrong}"] * bool(wrong)
    problems += ["columns in another order"] * (not problems and list(have) != list(want))
    if problems:
        raise BadInput(f"{what}: the table does not fit its schema: {'; '.join(problems)}; materialise it again")


def sweep(slot: Path) -> None:
    """Clear away what a kill or a power loss left behind. The caller holds the slot's lock, so nobody needs it."""
    for aside in slot.glob(".*.old-*"):
        version = slot / aside.name[1:].rpartition(".old-")[0]
        if not version.exists():  # killed between stepping aside and its successor's arrival: it is still the good one
            os.replace(aside, version)
    for left in (*slot.glob(".*.tmp-*/"), *slot.glob(".*.old-*/")):
        shutil.rmtree(left, ignore_errors=True)


def _version(fingerprint: str) -> str:
    return fingerprint[:16]


def _mtime(path: Path) -> float:
    return path.stat().st_mtime


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (RECORD, VERDICTS))


def _read_record(folder: Path) -> Record | None:
    try:
        return Record(**json.loads((folder / RECORD).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):  # half-written by something that is not this store: as good as absent
        return None


def _intact(folder: Path, record: Record) -> bool:
    return all((folder / name).is_file() and sha256_file(folder / name) == sha for name, sha in record.files.items())
