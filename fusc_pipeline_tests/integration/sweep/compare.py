"""What a data root holds, times aside: equal for a run that was broken and healed, and for one that never was."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

_TIMES = frozenset({"seconds", "images_per_second", "created", "fusc/seconds"})
_CLOCK = re.compile(
    r"\d+(\.\d+)? s\b|>seconds</th><td><code>[\d.]+<|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00| UTC)?"
)
_PICTURES = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")


def contents(root: Path) -> dict[str, str]:
    """path → hash of what it says, of every file under the data root but locks and texts of errors."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith(("locks/", "private/errors/")) and not name.endswith(".lock"):
            found[name] = _said(path)
    return found


def differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Each file that is missing, too many, or says something else."""
    told = [f"missing: {name}" for name in wanted if name not in found]
    told += [f"left over: {name}" for name in found if name not in wanted]
    return told + [f"differs: {name}" for name in wanted if name in found and found[name] != wanted[name]]


def _said(path: Path) -> str:
    # Of a record, what its files are is looked at file by file; hashes of those with times in them differ.
    if path.name == "_fingerprint.json":
        record = json.loads(path.read_text())
        kept = ("asset", "partition", "fingerprint", "recipe", "data_version", "inputs", "config", "holds", "content")
        return _hash({name: record[name] for name in kept} | {"files": sorted(record["files"])})
    if path.name in ("history.json", "bundle.json", "_checks.json"):
        return _hash(_without_times(json.loads(path.read_text())))
    if path.suffix == ".html":
        return _hash(_CLOCK.sub("", _PICTURES.sub("", path.read_text())))
    if path.parts[-4:-2] == ("model_in_service", "_") and path.name == "table.parquet":
        return _hash(pq.read_table(path).drop_columns("at").to_pylist())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(entry) for name, entry in value.items() if name not in _TIMES}
    return [_without_times(entry) for entry in value] if isinstance(value, list) else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
