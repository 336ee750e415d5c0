"""A bundle: one folder that holds all of a model that assigning images needs, so that it works when its makers change.

    bundle.json              what it is, where it came from, how it scored, the hash of each other file; written last
    table.parquet            every image of the corpus it was made from, with its cluster (`schemas.CANDIDATE_MODEL`)
    vectors.safetensors      their embeddings, in the table's order
    calibration.safetensors  what is usual of held-out images (`outliers`)
    parts/<asset>/           weights of the encoder and of the fit

Which asset's weights are needed, and how they are applied, is the caller's part.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.hashing import sha256_file
from fusc_pipeline.host.atomic import link, whole_folder, write_text
from fusc_pipeline.service.outliers import Calibration

if TYPE_CHECKING:
    import numpy as np

FACTS, TABLE, VECTORS, CALIBRATION, PARTS = (
    "bundle.json",
    "table.parquet",
    "vectors.safetensors",
    "calibration.safetensors",
    "parts",
)


@dataclass(frozen=True)
class Part:
    """What a bundle keeps of an asset: the settings it was made with, and which version it was."""

    config: dict[str, Any]
    data_version: str


@dataclass(frozen=True)
class BundleFacts:
    """What `bundle.json` tells.

    version: of the candidate, changes with anything that went into it; row: which of the tables' models; parts: the
    assets whose weights or settings are needed; images: how many there are in each split; evaluation: its figures on
    the test split; provenance: inputs and code versions; created: seconds since 1970, UTC; trained_on: subjects that
    the encoder saw in earlier models it was trained on from, beside those of its own train split; files: name →
    SHA-256.
    """

    version: str
    row: str
    encoder: str
    n_clusters: int
    seed: int
    parts: dict[str, Part]
    images: dict[str, int]
    evaluation: dict[str, Any]
    provenance: dict[str, Any]
    created: float
    trained_on: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


class Bundle:
    """A bundle that was opened. Where a finished fit is applied, it stands in for the store: `require`, `folder`."""

    def __init__(self, root: Path, facts: BundleFacts):
        self.root, self.facts = root, facts

    @classmethod
    def open(cls, root: Path, name: str = "model") -> "Bundle":
        """Read what it is; BadInput when it is missing or no bundle. The other files are read, and checked, later.

        name: what it is called in a refusal.
        """
        try:
            found = json.loads((root / FACTS).read_text())
            parts = {asset: Part(**part) for asset, part in found.pop("parts").items()}
            return cls(root, BundleFacts(parts=parts, **found))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{name} ({root}) is missing or damaged ({type(error).__name__}); {_MEND}") from error

    def check(self, *names: str, name: str = "model", read: bool = True) -> None:
        """Compare files with the hashes they had when they were written, all or those named; BadInput for the first
        that differs. read: false only sees that they are there."""
        for path in names or tuple(self.facts.files):
            file = self.root / path
            if not file.is_file() or (read and sha256_file(file) != self.facts.files.get(path)):
                raise BadInput(f"{name}: {path} in {self.root} is missing or damaged; {_MEND}")

    def require(self, asset: str) -> Part:
        """The settings of an asset that the model was made with; BadInput when the bundle knows nothing of it."""
        if asset not in self.facts.parts:
            raise BadInput(f"the bundle {self.root} holds nothing of {asset}; it holds {', '.join(self.facts.parts)}")
        return self.facts.parts[asset]

    def folder(self, asset: str) -> Path:
        """Where the asset's weights lie."""
        self.require(asset)
        return self.root / PARTS / asset

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """Its images, `schemas.CANDIDATE_MODEL`."""
        import pyarrow.parquet as pq

        return pq.read_table(self.root / TABLE, columns=columns)

    def vectors(self) -> "np.ndarray":
        """(N, d) float32: the images' embeddings, in the table's order."""
        from safetensors.numpy import load_file

        return load_file(self.root / VECTORS)["vectors"]

    def calibration(self) -> Calibration:
        """What is usual of held-out images."""
        from safetensors.numpy import load_file

        return Calibration(**load_file(self.root / CALIBRATION))


_MEND = (
    "put another in service (`fusc models`, `fusc promote NUMBER`), or run model_in_service: it puts this one back, or "
    "goes back to the one before"
)


def write_arrays(root: Path, vectors: "np.ndarray", calibration: Calibration) -> None:
    """Write a new bundle's embeddings (N, d) and what is usual of held-out images."""
    from safetensors.numpy import save_file

    save_file({"vectors": vectors}, root / VECTORS)
    save_file({"distances": calibration.distances, "confidences": calibration.confidences}, root / CALIBRATION)


def write_part(root: Path, asset: str, files: Mapping[str, Path]) -> None:
    """Let an asset's files, which nobody changes any more, stand in the bundle too, by the name each has there."""
    folder = root / PARTS / asset
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        link(source, folder / name)


def seal(root: Path, facts: BundleFacts) -> Bundle:
    """Write `bundle.json` with the hash of every file that is there: from now on nothing of it may change."""
    files = {
        path.relative_to(root).as_posix(): sha256_file(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != FACTS
    }
    content = facts.__dict__ | {"parts": {asset: part.__dict__ for asset, part in facts.parts.items()}, "files": files}
    write_text(root / FACTS, json.dumps(content, indent=1, sort_keys=True))
    return Bundle.open(root)


def install(source: Bundle, target: Path) -> Bundle:
    """Put a bundle at `target`, whole or not at all: hard links where the file system has them, else copies.

    A bundle of the same version that stands there is kept when it is whole, and replaced otherwise.
    """
    if target.exists():
        try:
            there = Bundle.open(target)
            there.check()
            if there.facts.version == source.facts.version and there.facts.files == source.facts.files:
                return there
        except BadInput:
            pass  # what a kill or a disk fault left; it is replaced
    source.check()
    with whole_folder(target) as building:
        for name in (*source.facts.files, FACTS):
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            link(source.root / name, building / name)
    return Bundle.open(target)
