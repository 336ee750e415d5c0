"""A plan is what the asset itself would decide: the same fingerprint, no work done, nothing heavy imported."""

import subprocess
import sys

import pytest

from fusc_pipeline.base.errors import FuscError
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.planning import plan_asset
from fusc_pipeline.store.check_results import Verdict
from fusc_pipeline_tests.defs.graph import SMALL, failures, materialise, up_to


def plan(store, asset: str, partition: str | None = None, **config):
    build_definitions(root=str(store.root))
    return plan_asset(asset, store, partition, config)


def test_a_plan_has_the_fingerprint_that_the_run_then_has(small_store):
    assert plan(small_store, "corpus").fingerprint
    assert failures(materialise(small_store, up_to("kmeans_simclr"))) == {}
    for asset in ("corpus", "simclr_encoder", "simclr_embeddings", "kmeans_simclr"):
        assert plan(small_store, asset, **SMALL.get(asset, {})).fingerprint == small_store.record(asset).fingerprint
    assert plan(small_store, "pseudo_labels", "b1").inputs.keys() == {"burned_in_text"}
    changed = {**SMALL["kmeans_simclr"], "n_init": 2}
    assert plan(small_store, "kmeans_simclr", **changed).fingerprint != small_store.record("kmeans_simclr").fingerprint


def test_planning_makes_nothing(small_store):
    before = sorted(small_store.root.rglob("*"))
    plan(small_store, "corpus")
    assert sorted(small_store.root.rglob("*")) == before


def test_a_missing_input_is_told_as_in_a_run(small_store):
    with pytest.raises(FuscError, match="corpus has not been made; run: dagster asset materialize"):
        plan(small_store, "simclr_encoder")


def test_nothing_is_built_on_a_version_that_failed_a_blocking_check(small_store):
    assert failures(materialise(small_store, "corpus")) == {}
    record = small_store.require("corpus")
    small_store.keep_verdict(record, Verdict("unique_ids", "1", False, True, "ERROR", "image i is there twice"))
    told = failures(materialise(small_store, "simclr_encoder"))["simclr_encoder"]
    assert "corpus failed a check, so nothing is built on it (unique_ids: image i is there twice)" in told
    with pytest.raises(FuscError, match="failed a check"):
        plan(small_store, "simclr_encoder")
    small_store.keep_verdict(record, Verdict("unique_ids", "1", True, True, "ERROR", "as it should be"))
    assert failures(materialise(small_store, "simclr_encoder")) == {}


HEAVY = ("torch", "cv2", "easyocr", "faiss", "sklearn", "timm")
ALL = f"""
import sys
import dagster as dg
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.defs.engine.planning import plan_asset
from fusc_pipeline.base.errors import FuscError
from fusc_pipeline.store.store import Store
definitions, planned = build_definitions(root=sys.argv[1]), 0
for key in definitions.resolve_asset_graph().materializable_asset_keys:
    name = key.to_user_string()
    try:
        batch = "b1" if name in per_batch_assets() else None
        plan_asset(name, Store(sys.argv[1]), batch)
        planned += 1
    except (FuscError, dg.Failure):
        pass
print(planned, [name for name in {HEAVY!r} if name in sys.modules])
"""


def test_every_asset_can_be_planned_without_anything_heavy(small_store):
    found = subprocess.run([sys.executable, "-c", ALL, str(small_store.root)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    planned, heavy = found.stdout.strip().split(" ", 1)
    assert int(planned) >= 5 and heavy == "[]", found.stdout
