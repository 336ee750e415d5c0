"""Raw strings are kept where `keep_text` asks for them: in one table of a private folder, and nowhere else."""

import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from fusc_pipeline.base.hashing import image_id
from fusc_pipeline.base.png import encode_png
from fusc_pipeline.base.schemas import SCANS
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.store.store import Recipe, Store
from fusc_pipeline.text.engine import Word
from fusc_pipeline_tests.integration.canaries import STEM, Search, counted


@dataclass
class ReadsNames:
    """An engine that reads a patient's name beside the label on every frame."""

    name: str = "reads-names"
    fingerprint: str = "reads-names-1"

    def read(self, pixels: np.ndarray) -> list[Word]:
        return [Word(0, 0, 9, 4, f"{STEM} Zofia", 0.9), Word(0, 6, 9, 9, "FEMUR", 0.9)]


def read_words(root: Path, history: Path, keep_text: bool) -> dict:
    """Materialise words and labels with a run history on the disk; returns the words' metadata."""
    history.mkdir(exist_ok=True)
    selection = [dg.AssetKey("burned_in_text"), dg.AssetKey("pseudo_labels")]
    with dg.DagsterInstance.local_temp(str(history)) as instance:
        instance.add_dynamic_partitions("scan_batch", ["b"])
        result = (
            build_definitions(root=str(root))
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                partition_key="b",
                asset_selection=selection,
                run_config={"ops": {"burned_in_text": {"config": {"workers": 1, "keep_text": keep_text}}}},
            )
        )
    events = result.asset_materializations_for_node("burned_in_text")
    return {name: value.value for name, value in events[0].metadata.items()}


@pytest.mark.parametrize("keep_text", [False, True])
def test_raw_strings_stay_in_their_table(tmp_path, monkeypatch, keep_text):
    monkeypatch.setattr("fusc_pipeline.text.engines.engine_factory", lambda *_: partial(ReadsNames))
    store = Store(tmp_path / "data")
    pixels = np.zeros((16, 16), np.uint8)
    blank = {field.name: "x" if pa.types.is_string(field.type) else 1 for field in SCANS if not field.nullable}
    with store.write("scans", "b", Recipe("test"), {}) as draft:
        rows = [blank | {"image_id": image_id(pixels), "png": encode_png(pixels)}]
        draft.write_table(pa.Table.from_pylist(rows, schema=SCANS))
    metadata = read_words(store.root, tmp_path / "history", keep_text)
    assert metadata["raw_text"].startswith("kept; it may hold names" if keep_text else "not kept")
    found = counted(Search().tree(tmp_path))
    home = (store.root / "assets" / "burned_in_text").relative_to(tmp_path).as_posix()
    assert all(hit.startswith(f"'{home}") for hit in found) and bool(found) == keep_text
    for path in (store.root / "assets" / "burned_in_text").rglob("*.parquet"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert store.table("pseudo_labels", "b").column("view").to_pylist() == ["Femur"]
