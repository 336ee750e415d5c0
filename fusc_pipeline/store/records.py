"""What is known of a version of an output: how it was made, which files it holds, whether they are all there.

The store reads and writes these; nothing is written here.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fusc_pipeline.base.hashing import digest, sha256_file

RECORD = "_fingerprint.json"


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
    # Empty in records of earlier releases:
    sizes: dict[str, int] = field(default_factory=dict)  # name -> bytes
    holds: list[str] = field(default_factory=list)  # names that the asset declared before it was made
    content: str = ""  # hash of what the files say, times left out


def read_record(folder: Path) -> Record | None:
    """The record of the version in this folder; None where there is none that can be read."""
    known = {one.name for one in fields(Record)}
    try:
        found = json.loads((folder / RECORD).read_text())
        return Record(**{name: value for name, value in found.items() if name in known})  # a later release keeps more
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, AttributeError):  # half-written by something that is not this store
        return None


def lacking(folder: Path, record: Record, holds: Iterable[str] = ()) -> list[str]:
    """Names of files that the version in this folder must hold and does not, or not in their size; reads none of them.

    It must hold what it was published with, what its asset declared then, and `holds`: what it declares now.
    """
    return [
        name
        for name in sorted({*record.files, *record.holds, *holds})
        if name not in record.files or not _stands(folder / name, record.sizes.get(name))
    ]


def is_intact(folder: Path, record: Record, holds: Iterable[str] = ()) -> bool:
    """Whether nothing is lacking, and every file has the hash it was published with; reads all of them."""
    return not lacking(folder, record, holds) and all(
        sha256_file(folder / name) == sha for name, sha in record.files.items()
    )


def _stands(path: Path, size: int | None) -> bool:
    return path.is_file() and size in (None, path.stat().st_size)
