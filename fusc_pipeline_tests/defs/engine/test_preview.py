"""What assets show of themselves in the UI: small, and never what must not be seen."""

import base64
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fusc_pipeline.defs.engine.preview import (
    MOST_BYTES,
    MOST_WIDTH,
    add_preview,
    crossed_table,
    image_markdown,
    rows_markdown,
)
from fusc_pipeline.pictures.previews import components
from fusc_pipeline.store.store import Draft, Recipe


def draft(tmp_path, table: pa.Table) -> Draft:
    pq.write_table(table, tmp_path / "table.parquet")
    return Draft(tmp_path, Recipe("1"), tmp_path, table.schema, "x")


def picture(width: int, height: int, kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


TABLE = pa.table({"name": ["a|b\nc", "x" * 64] * 5, "share": [0.123456, None] * 5, "png": [b"1", b"2"] * 5})


def test_a_table_shows_its_first_rows_without_pictures(tmp_path):
    found = draft(tmp_path, TABLE)
    add_preview(found, "corpus")
    text = found.metadata["preview"]["md"]
    assert text.splitlines()[:3] == ["| name | share |", "|---|---|", "| a/b c | 0.1235 |"]
    assert "png" not in text and "…" in text and text.endswith("The first 6 of 10 rows.")


@pytest.mark.parametrize("asset", ["scans", "burned_in_text"])
def test_delivered_rows_are_never_shown(tmp_path, asset):
    found = draft(tmp_path, TABLE)
    add_preview(found, asset)
    assert found.metadata == {}


def test_what_shows_itself_is_left_alone_and_an_empty_table_says_so(tmp_path):
    found = draft(tmp_path, TABLE.slice(0, 0))
    found.metadata["figures"] = {"md": "mine"}
    add_preview(found, "corpus")
    assert found.metadata == {"figures": {"md": "mine"}}
    found.metadata.clear()
    add_preview(found, "corpus")
    assert found.metadata["preview"]["md"] == "The table is empty."
    add_preview(Draft(tmp_path / "nowhere", Recipe("1"), tmp_path, None, "x"), "x")


def test_counts_in_two_directions():
    text = crossed_table({"GE": {"b_mode": 3}, "Philips": {"b_mode": 2, "dual": 9}}, "machine")
    assert text.splitlines() == [
        "| machine | b_mode | dual |",
        "|---|--:|--:|",
        "| Philips | 2 | 9 |",
        "| GE | 3 | 0 |",
    ]
    assert rows_markdown(pa.table({"a": [1]})).endswith("| 1 |")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_are_narrow_and_small(kind):
    text = image_markdown(picture(1600, 500, kind), "noise")
    data = base64.b64decode(text.split("base64,")[1][:-1])
    with Image.open(io.BytesIO(data)) as image:
        assert image.width <= MOST_WIDTH
    assert len(data) <= MOST_BYTES
    assert len(image_markdown(picture(40, 40, kind), "noise")) < 8000


@pytest.mark.parametrize("n, d", [(1, 4), (2, 1), (5, 8), (2000, 16)])
def test_embeddings_of_any_number_are_drawn_small(n, d):
    vectors = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    found = components(vectors, (["Femur", None, "Brain"] * n)[:n])
    assert found.startswith(b"\x89PNG") and len(found) < MOST_BYTES
    with pytest.raises(ValueError, match="NaN"):
        components(np.full_like(vectors, np.nan), [None] * n)
