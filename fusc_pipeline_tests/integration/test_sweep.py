"""Nothing half-made, whatever is killed and whenever: random moments here, every file operation of every asset by
`pytest -m slow`, the table of it by `python -m fusc_pipeline_tests.integration.sweep`.
"""

import tempfile
from pathlib import Path

import pytest

from fusc_pipeline_tests.integration.sweep import ways
from fusc_pipeline_tests.integration.sweep.__main__ import Sweep, in_memory
from fusc_pipeline_tests.integration.sweep.compare import contents
from fusc_pipeline_tests.integration.sweep.stage import DEMO, Stage, assets
from fusc_pipeline_tests.integration.sweep.trials import operations, random_moments

MOMENTS = 8  # two hundred by `pytest -m slow`


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="fusc-sweep-", dir=in_memory()) as made:
        yield Path(made)


def test_random_moments_of_the_demos_graph(folder):
    stage = Stage(folder, settings=DEMO)
    try:
        stage.reset()
        whole = stage.run()
        assert whole.code == 0, whole.said
        wanted, kills, seed = contents(stage.root), 0, 2026
        while kills < MOMENTS:
            # Early moments, so that a root is killed many times before it is done.
            met, wrong = random_moments(stage, seed, whole.seconds / 3, wanted)
            assert wrong == [], f"seed {seed}: " + "\n".join(wrong)
            kills, seed = kills + met, seed + 1
    finally:
        stage.close()


@pytest.mark.slow
def test_every_operation_of_every_asset_and_two_hundred_random_moments(folder):
    sweep = Sweep(folder, jobs=2)
    try:
        trials = sweep.steps(assets())
        assert [trial for trial in trials if trial.wrong] == []
        assert {trial.asset for trial in trials} == set(assets())
        kills, wrong = sweep.moments(200, seed=20261201)
        assert wrong == [] and kills >= 200
    finally:
        sweep.close()


@pytest.mark.slow
@pytest.mark.parametrize("way", [ways.multiprocess, ways.daemon], ids=["dagster asset materialize", "the daemon"])
def test_every_step_process_of_dagster_is_killed_once(folder, way):
    stage = Stage(folder)
    try:
        stage.rehearse()
        counts = {asset: len(operations(stage, asset)) for asset in assets()}
        stage.reset()
        whole = stage.run()
        assert whole.code == 0, whole.said
        assert way(stage, counts, seed=11, wanted=contents(stage.root)) == []
    finally:
        stage.close()
