import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.scans.edges import apex_of, fit_arc, fit_side, mirrored


def side_points(slope, offset, seed, outliers=0.3, inward=1):
    """Rows and edge columns of a side; a share of the rows sees its edge further inside, where the tissue is dark."""
    rng = np.random.default_rng(seed)
    rows = np.arange(20, 240)
    columns = slope * rows + offset
    dark = rng.random(len(rows)) < outliers
    columns = columns + inward * dark * rng.uniform(5, 80, len(rows))
    return rows, np.rint(columns).astype(int)


@given(st.floats(-2.0, 0.1), st.floats(0, 0.6), st.integers(0, 99))
@settings(deadline=None)
def test_a_left_side_is_found_among_dark_rows(slope, outliers, seed):
    rows, columns = side_points(slope, 600, seed, outliers)
    side = fit_side(rows, columns, np.ones(len(rows), bool), +1, 20)
    assert side is not None
    assert np.abs(side.x_at(rows) - (slope * rows + 600)).max() < 2 * np.hypot(1, slope)


@given(st.floats(-0.1, 2.0), st.integers(0, 99))
@settings(deadline=None)
def test_a_right_side_mirrors_a_left_one(slope, seed):
    rows, columns = side_points(slope, 100, seed, inward=-1)
    right = fit_side(rows, columns, np.ones(len(rows), bool), -1, 20)
    left = fit_side(rows, 1000 - columns, np.ones(len(rows), bool), +1, 20)
    assert np.allclose(mirrored(left, 500).x_at(rows), right.x_at(rows), atol=1e-6)


def test_no_side_in_a_ragged_edge():
    rng = np.random.default_rng(0)
    rows = np.arange(200)
    assert fit_side(rows, rng.integers(0, 200, 200), np.ones(200, bool), +1, 24) is None
    assert fit_side(rows, np.zeros(200, int), np.zeros(200, bool), +1, 24) is None


@pytest.mark.parametrize("known_centre", [False, True])
@pytest.mark.parametrize("radius, cy", [(300, -60), (180, 30), (1500, -1250)])
def test_a_lower_end_is_found_among_dark_columns(radius, cy, known_centre):
    rng = np.random.default_rng(1)
    columns = np.arange(120, 361)
    rows = cy + np.sqrt(radius**2 - (columns - 240.0) ** 2)
    rows = rows - (rng.random(len(columns)) < 0.4) * rng.uniform(4, 60, len(columns))
    centre = (240.0, float(cy)) if known_centre else None
    arc = fit_arc(columns, np.rint(rows).astype(int), np.ones(len(columns), bool), -1, 30, 1e4, centre)
    assert arc is not None
    truth = cy + np.sqrt(radius**2 - (columns - 240.0) ** 2)
    assert np.abs(arc.y_at(columns) - truth).max() < 3


def test_a_small_probe_is_found_beside_a_flat_top():
    columns = np.arange(480)
    rows = np.full(480, 12)
    probe = np.abs(columns - 240) < 42
    rows[probe] = np.rint(0 + np.sqrt(45**2 - (columns[probe] - 240.0) ** 2))
    rows = np.maximum(rows, 12)
    arc = fit_arc(columns, rows, rows > 13, +1, 20, 700)
    assert arc is not None
    assert (arc.cx, arc.cy, arc.radius) == pytest.approx((240, 0, 45), abs=2)


def test_the_apex():
    rows, columns = side_points(-0.5, 300, 0, outliers=0)
    left = fit_side(rows, columns, np.ones(len(rows), bool), +1, 20)
    assert apex_of(left, mirrored(left, 320), 20) == pytest.approx((320, -40), abs=1)
    assert apex_of(left, mirrored(left, 200), 20) is None
    assert apex_of(left, left, 20) is None
