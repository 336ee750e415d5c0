"""The pixel cache: decoded once, whole or absent."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.representation.pixels import PixelBatches, PixelCache, build_pixel_cache, resized


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def some_images(n, height=40, width=60):
    rng = np.random.default_rng(0)
    return [(f"id{i}", png(rng.integers(0, 256, (height, width), dtype=np.uint8))) for i in range(n)]


def test_a_cache_holds_every_image_in_order_and_reopens(tmp_path):
    images = some_images(5)
    built = build_pixel_cache(iter(images), 5, 32, tmp_path / "cache")
    opened = PixelCache.open(tmp_path / "cache")
    assert opened.ids == built.ids == [f"id{i}" for i in range(5)]
    assert opened.pixels.shape == (5, 32, 32) and opened.pixels.dtype == np.uint8
    for (_, encoded), row in zip(images, opened.pixels, strict=True):
        grey = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(row, resized(grey, 32))
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    with pytest.raises(ValueError, match="read-only"):
        opened.pixels[0] = 0


def test_a_failed_build_leaves_the_old_cache_and_nothing_else(tmp_path):
    build_pixel_cache(iter(some_images(2)), 2, 32, tmp_path / "cache")
    bad = [*some_images(2), ("broken", b"not an image")]
    with pytest.raises(BadInput, match="broken cannot be decoded"):
        build_pixel_cache(iter(bad), 3, 32, tmp_path / "cache")
    assert PixelCache.open(tmp_path / "cache").ids == ["id0", "id1"]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    build_pixel_cache(iter(some_images(4)), 4, 16, tmp_path / "cache")
    assert PixelCache.open(tmp_path / "cache").pixels.shape == (4, 16, 16)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize(("announced", "message"), [(2, "more than the 2"), (4, "4 images were announced, 3 were")])
def test_a_wrong_number_of_images_is_refused(tmp_path, announced, message):
    with pytest.raises(BadInput, match=message):
        build_pixel_cache(iter(some_images(3)), announced, 32, tmp_path / "cache")
    assert not list(tmp_path.iterdir())


def test_bad_settings_duplicates_and_empty_input_are_refused(tmp_path):
    with pytest.raises(BadInput, match="given twice"):
        build_pixel_cache(iter(some_images(1) * 2), 2, 32, tmp_path / "cache")
    with pytest.raises(BadSetting, match="image size is 8"):
        build_pixel_cache(iter(some_images(1)), 1, 8, tmp_path / "cache")
    with pytest.raises(BadSetting, match="stretch"):
        build_pixel_cache(iter(some_images(1)), 1, 32, tmp_path / "cache", "stretch")
    with pytest.raises(BadInput, match="no image to cache"):
        build_pixel_cache(iter([]), 0, 32, tmp_path / "cache")


def test_a_damaged_or_missing_cache_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no readable pixel cache"):
        PixelCache.open(tmp_path / "cache")
    build_pixel_cache(iter(some_images(2)), 2, 32, tmp_path / "cache")
    (tmp_path / "cache" / "pixels.u8").write_bytes(b"short")
    with pytest.raises(BadInput, match="build the cache again"):
        PixelCache.open(tmp_path / "cache")


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([16, 33]))
def test_letterbox_keeps_aspect_and_fills_the_longer_side(height, width, size):
    out = resized(np.full((height, width), 200, np.uint8), size)
    rows, columns = np.flatnonzero(out.any(1)), np.flatnonzero(out.any(0))
    assert out.shape == (size, size) and max(len(rows), len(columns)) == size
    assert np.all(out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 200)
    assert len(rows) == max(1, round(height * size / max(height, width)))
    assert len(columns) == max(1, round(width * size / max(height, width)))
    assert np.all(resized(np.full((height, width), 200, np.uint8), size, "squash") == 200)


def test_shrinking_averages_over_areas():
    checkerboard = (np.indices((64, 64)).sum(0) % 2 * 200).astype(np.uint8)
    assert np.all(resized(checkerboard, 16) == 100)


def test_batches_are_rows_on_the_device():
    pixels = np.arange(3 * 16 * 16, dtype=np.uint32).astype(np.uint8).reshape(3, 16, 16)
    batches = PixelBatches(pixels, Compute())
    assert len(batches) == 3
    assert np.array_equal(batches(torch.tensor([2, 0, 2])).numpy(), pixels[[2, 0, 2]])
