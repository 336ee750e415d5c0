"""A data root that an earlier release broke heals by itself: commit 72ca6ab could lose a fit's weights by a kill."""

import json
from typing import Any

import pytest

from fusc_pipeline_tests.integration.broken_root import (
    BETWEEN,
    CANDIDATE,
    IN_SERVICE,
    LOST_FIT,
    WHOLE_FIT,
    BrokenRoot,
    Ended,
    NoHistory,
)

pytestmark = pytest.mark.slow
ASSETS = ("kmeans_simclr", "fusc_simclr")
LOST = "k2-seed0.safetensors"


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> BrokenRoot:
    """Three states are kept: killed; published, where a model was promoted on the broken version; and unpromoted,
    where the candidate was to be the very fit that is lost."""
    try:
        found = BrokenRoot(tmp_path_factory.mktemp("broken"), ASSETS)
    except NoHistory as reason:
        pytest.skip(str(reason))
    found.kill_old()
    found.keep("killed")
    for name, fit, failed in (
        ("unpromoted", LOST_FIT, ("fusc_simclr_selflabel FAILED", f"{CANDIDATE} FAILED")),
        ("published", WHOLE_FIT, ("fusc_simclr_selflabel FAILED",)),
    ):
        found.restore("killed")
        found.settings(fit)
        ended = found.publish_old()
        assert ended.code == 1 and all(words in ended.said for words in failed) and LOST in ended.said, ended.said
        assert [found.version(asset).lost for asset in ASSETS] == [(LOST,)] * 2, found.lines()
        found.keep(name)
    return found


def states(said: str) -> dict[str, dict[str, Any]]:
    """What `fusc status --json` said, by asset."""
    return {state["asset"]: state for state in json.loads(said)}


def run_once(broken: BrokenRoot) -> Ended:
    """One run of the present code, after which all is whole."""
    ended = broken.fusc(broken.command("run"), broken.command("status", "--json"))
    assert ended.code == 0, ended.said
    found = states(ended.said.split(BETWEEN)[1]).values()
    assert all(s["state"] == "fresh" or "leaves it out" in s["why"][0] for s in found), found
    for asset in (*ASSETS, "fusc_simclr_selflabel"):
        version = broken.version(asset)
        assert version and len(version.fits) == 4 and not version.lost, (asset, version)
    now = broken.record("fusc_simclr")["data_version"]
    assert broken.record("fusc_simclr_selflabel")["inputs"]["fusc_simclr"] == now
    assert broken.record("purity_report")["inputs"]["fusc_simclr"] == now
    assert broken.made_of(CANDIDATE) == broken.made_of(IN_SERVICE) == now, broken.lines()
    assert (broken.root / "report.html").is_file()
    return ended


def test_what_was_published_and_promoted_with_a_gap_is_made_again(broken):
    broken.restore("published")
    broken.settings(WHOLE_FIT)
    before = {asset: broken.version(asset).data_version for asset in ASSETS}
    assert [(row["action"], row["number"]) for row in broken.history()] == [("promoted", 1)]
    assert broken.made_of(IN_SERVICE) == before["fusc_simclr"], "the model was promoted on the broken version"

    looked = broken.fusc(["status", "--json"], broken.command("status", "--json"))
    for said in looked.said.split(BETWEEN):
        found = states(said)
        for asset in ASSETS:
            assert found[asset]["state"] == "stale" and LOST in " ".join(found[asset]["why"]), found[asset]
        assert found[CANDIDATE]["state"] == found[IN_SERVICE]["state"] == "waiting", found

    ended = run_once(broken)
    for asset in ASSETS:
        assert f"{asset}: file {LOST} of it is gone" in ended.said, ended.said
        assert broken.version(asset).data_version != before[asset], asset
    assert [(row["action"], row["number"]) for row in broken.history()] == [("promoted", 1), ("promoted", 2)]

    again = broken.run()
    assert again.code == 0, again.said
    made = [line for line in again.said.splitlines() if line.endswith(" rows") and "cached" not in line]
    assert not made and again.said.count(" cached") == 23, again.said


@pytest.mark.parametrize("state", ["killed", "unpromoted"])
def test_one_run_heals(broken, state):
    """killed: no run of the faulty code came after, so the gap is in the work folder still."""
    broken.restore(state)
    broken.settings(LOST_FIT)
    assert broken.history() == []
    run_once(broken)
    assert [(row["action"], row["number"]) for row in broken.history()] == [("promoted", 1)]
