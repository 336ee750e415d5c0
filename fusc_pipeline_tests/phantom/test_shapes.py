"""Geometry of shapes, planes and their morphs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.phantom.shapes import N_POINTS, curve, ellipse, morph, resample, rotate
from fusc_pipeline.phantom.view_drawings import NEIGHBOURS, plane_of


@given(turn=st.floats(-360, 360), x=st.floats(-5, 5), y=st.floats(-5, 5))
def test_rotation_keeps_lengths_and_turns_the_first_axis_to_the_second(turn: float, x: float, y: float) -> None:
    (point,) = rotate(np.array([[x, y]]), turn)
    assert np.hypot(*point) == pytest.approx(np.hypot(x, y), abs=1e-9)
    assert rotate(np.array([[1.0, 0.0]]), 90)[0] == pytest.approx([0, 1])


@given(rx=st.floats(0.1, 5), ry=st.floats(0.1, 5), turn=st.floats(0, 180))
def test_an_ellipse_satisfies_its_equation(rx: float, ry: float, turn: float) -> None:
    points = rotate(ellipse((1, 2), rx, ry, turn) - (1, 2), -turn)
    assert (points[:, 0] / rx) ** 2 + (points[:, 1] / ry) ** 2 == pytest.approx(np.ones(N_POINTS))


def test_a_curve_passes_its_ends_and_knots() -> None:
    knots = np.array([(0, 0), (1, 2), (3, 1), (4, 4)], float)
    points = curve(knots)
    assert points[0] == pytest.approx(knots[0])
    assert points[-1] == pytest.approx(knots[-1], abs=1e-6)
    assert max(np.linalg.norm(points - knot, axis=1).min() for knot in knots) < 0.1


def test_resampling_keeps_the_outline() -> None:
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    points = resample(square, closed=True)
    assert points.shape == (N_POINTS, 2)
    on_edge = np.isclose(points, 0) | np.isclose(points, 1)
    assert on_edge.any(axis=1).all()


@pytest.mark.parametrize("view", sorted(NEIGHBOURS))
def test_a_morph_starts_at_its_own_plane_and_ends_at_the_neighbour(view: str) -> None:
    own = plane_of(view, 7, 0.0, np.random.default_rng(0))
    other = plane_of(NEIGHBOURS[view][0], 7, 0.0, np.random.default_rng(0))
    start, end = morph(own, other, 0.0), morph(own, other, 1.0)
    for name, shape in own.items():
        assert start[name].points == pytest.approx(shape.points)
        assert start[name].presence == 1
    for name, shape in other.items():
        assert end[name].points == pytest.approx(shape.points)
        assert end[name].presence == 1
    assert all(end[name].presence == 0 for name in own.keys() - other.keys())


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_draws_finite_shapes_of_sane_size(view: str) -> None:
    for seed in range(5):
        plane = plane_of(view, seed, 0.35, np.random.default_rng(seed))
        everything = np.concatenate([shape.points for shape in plane.values()])
        assert np.isfinite(everything).all()
        assert np.abs(everything).max() < 12
        assert all(shape.points.shape[1] == 2 and shape.power > 0 for shape in plane.values())
