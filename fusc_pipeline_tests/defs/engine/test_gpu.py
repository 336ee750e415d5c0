"""A GPU op holds its device while it works, and only then."""

import pytest

from fusc_pipeline.defs.engine import gpu
from fusc_pipeline.host import device_lease
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, up_to


@pytest.fixture
def leases(monkeypatch):
    """What was leased, in order."""
    seen = []

    def recorded(what, *rest):
        seen.append(what.split(" of run ")[0])
        return device_lease.leased(what, *rest)

    monkeypatch.setattr(gpu, "leased", recorded)
    return seen


def test_no_device_is_leased_for_a_cache_hit_or_off_the_pool(small_store, leases):
    chosen = up_to("simclr_encoder")
    assert failures(materialise(small_store, chosen)) == {}
    assert set(leases) == {"simclr_encoder"}  # the asset, and again within it, to know which devices
    before = len(leases)
    again = materialise(small_store, chosen)
    assert set(cache_states(again).values()) == {"hit"} and len(leases) == before
