"""What decides a result is in its fingerprint, however it reached it; what does not, is not."""

import numpy as np
import pytest

from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.dataset.corpus import PIXELS
from fusc_pipeline.defs.engine.planning import plan_asset
from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.defs.evaluation import reports
from fusc_pipeline.store.check_results import Verdict
from fusc_pipeline.store.store import Recipe
from fusc_pipeline.text import lexicon
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise


def plan(store, asset: str, partition: str | None = None):
    build_definitions(root=str(store.root))
    return plan_asset(asset, store, partition)


def repainted(store, frames, batch: str = "b1") -> None:
    """The batch's frames cleaned anew to other pixels; the same scans, so the same image_ids."""
    import pyarrow as pa

    from fusc_pipeline.base.png import decode_png, encode_png
    from fusc_pipeline.base.schemas import CLEAN_IMAGES

    rows = store.table("clean_images", batch).to_pylist()
    for row in rows:
        row["image"] = {"bytes": encode_png(np.minimum(decode_png(row["image"]["bytes"]), 200)), "path": None}
    with store.write("clean_images", batch, Recipe("other"), {"made": "again"}) as draft:
        draft.write_table(pa.Table.from_pylist(rows, schema=CLEAN_IMAGES))


def test_frames_cleaned_anew_are_trained_on_anew(small_store, phantom_frames):
    """The corpus's rows are the same then, and used to be all that its version told."""
    assert failures(materialise(small_store, "corpus")) == {}
    table, before = small_store.table("corpus"), plan(small_store, "simclr_encoder")
    repainted(small_store, phantom_frames)
    assert cache_states(materialise(small_store, "corpus")) == {"corpus": "miss"}
    assert small_store.table("corpus").equals(table)
    assert plan(small_store, "simclr_encoder").fingerprint != before.fingerprint


def test_a_corpus_made_again_from_the_same_pictures_stays_the_same(small_store, phantom_frames, monkeypatch):
    assert failures(materialise(small_store, "corpus")) == {}
    version = small_store.require("corpus").data_version
    read = []
    dataset = type(small_store).dataset
    monkeypatch.setattr(type(small_store), "dataset", lambda self, *given: read.append(given) or dataset(self, *given))
    fill_store(small_store, phantom_frames[:12], batch="b2")  # the same frames, delivered twice
    assert cache_states(materialise(small_store, "corpus")) == {"corpus": "miss"}
    assert small_store.require("corpus").data_version == version
    assert read == []  # no picture of a batch that did not change is read again
    assert (small_store.folder("corpus") / PIXELS).exists()


def test_a_batch_that_failed_a_check_is_left_out_and_named(small_store, phantom_frames):
    fill_store(small_store, phantom_frames[:12], batch="b0")
    record = small_store.require("clean_images", "b0")
    small_store.keep_verdict(record, Verdict("no_text_is_left", "1", False, True, "ERROR", "3 frames were not read"))
    assert failures(materialise(small_store, "corpus")) == {}
    made = small_store.require("corpus")
    assert "clean_images/b0" not in made.inputs and "clean_images/b1" in made.inputs
    assert made.metadata["batches_that_failed_a_check"] == "b0"
    small_store.keep_verdict(
        small_store.require("pseudo_labels", "b1"), Verdict("table_is_sound", "1", False, True, "ERROR", "twice")
    )
    told = failures(materialise(small_store, "corpus"))["corpus"]
    assert "every batch of the corpus failed a check (b0: no_text_is_left: 3 frames were not read; b1:" in told


def test_another_word_in_the_lexicon_reads_again(small_store, monkeypatch):
    before = plan(small_store, "burned_in_text", "b1")
    assert "lexicon" not in before.recipe.extra  # the words of the release: what was read with them stands
    monkeypatch.setitem(lexicon.ALIASES, "Feet", ("FEET", "FOOT", "TOES"))
    after = plan(small_store, "burned_in_text", "b1")
    assert after.fingerprint != before.fingerprint and after.recipe.extra["lexicon"]


@pytest.fixture
def reported(small_store):
    """A corpus, and of everything after it a version with nothing in it: a plan asks for no more."""
    assert failures(materialise(small_store, "corpus")) == {}
    for key in build_definitions(root=str(small_store.root)).resolve_asset_graph().materializable_asset_keys:
        if (asset := key.to_user_string()) not in per_batch_assets() | {"corpus"}:
            publish(small_store, asset, 1)
    return small_store


def publish(store, asset: str, made: int) -> None:
    with store.write(asset, None, Recipe("1", {"made": made}), {}) as draft:
        draft.path("content").write_text(str(made))


def test_the_page_follows_its_templates_and_every_network_it_shows(reported, monkeypatch):
    before = plan_report(reported)
    assert plan_report(reported) == before
    with monkeypatch.context() as patched:
        patched.setattr(reports, "_templates", lambda: "edited")
        assert plan_report(reported) != before
    # DINO's neighbours decide a line of the page and no table that it is made from.
    publish(reported, "dino_neighbors", 2)
    assert plan_report(reported) != before


def plan_report(store) -> str:
    return plan(store, "cluster_report").fingerprint
