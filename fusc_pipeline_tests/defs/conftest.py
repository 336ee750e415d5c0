"""Graph tests read cleaned frames again with an engine that costs nothing; what real engines do is tested elsewhere."""

import pytest

from fusc_pipeline.text import engines
from fusc_pipeline_tests.text.fakes import BrightTextEngine


@pytest.fixture(autouse=True)
def cheap_engines(monkeypatch):
    """Both engines of the audits are `BrightTextEngine`."""
    monkeypatch.setattr(engines, "engine_factory", lambda name, canvas=0, weights=None: BrightTextEngine)
