"""What decides a result is in its fingerprint, however it reached it; what does not, is not."""

import numpy as np
import pytest

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.dataset.corpus import PIXELS
from fusc_pipeline.defs.engine.planning import plan_asset
from fusc_pipeline.defs.engine.work import per_batch_assets, stored
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


# Of each asset, what its code version and default settings come to. One that changes makes every data root's outputs of
# that asset stale: that may be meant (a new code version, another default), and then the new value goes in here.
PINNED = {
    "batch_assignments": "7ff803d1bf673f63",
    "burned_in_text": "d06f1ad248ffcb9b",
    "candidate_model": "295a1c423c7feba7",
    "clean_images": "e5de65e4b285737a",
    "cluster_composition": "5358e433e1cb2ddf",
    "cluster_gallery": "5042535d5bf9cb51",
    "cluster_report": "c579af214f702cc7",
    "corpus": "95ed8c73b5fc8db5",
    "deepmcat": "340b0b96e1ae302c",
    "dino_embeddings": "0093504a4a2ed486",
    "dino_encoder": "6bccf2160225801e",
    "dino_neighbors": "40f34e98fd95cd0b",
    "external_purity": "91a2a0669b1a3b94",
    "fusc_dino": "5f48c574312581c6",
    "fusc_dino_selflabel": "9bce3b3d26d7020e",
    "fusc_simclr": "5f48c574312581c6",
    "fusc_simclr_selflabel": "9bce3b3d26d7020e",
    "inpainting_audit": "cb8f25b3b11e21f6",
    "kmeans_dino": "7c06d8135dad4759",
    "kmeans_simclr": "7c06d8135dad4759",
    "label_audit": "de9fff32db92858c",
    "model_in_service": "5358e433e1cb2ddf",
    "pseudo_labels": "6af81b9d1cb76b3d",
    "purity_report": "5358e433e1cb2ddf",
    "rejected_scans": "5358e433e1cb2ddf",
    "scans": "89987fd5325d7f0d",
    "simclr_embeddings": "0093504a4a2ed486",
    "simclr_encoder": "3693d24901b85337",
    "simclr_neighbors": "40f34e98fd95cd0b",
    "supervised": "8513aa5500b0935c",
}


def test_what_stands_in_a_data_root_stays_fresh_unless_a_version_or_a_default_was_changed():
    build_definitions()
    assert {
        name: digest([stored(name).code_version, stored(name).config_class().deciding()])[:16] for name in PINNED
    } == PINNED
    assert {key.to_user_string() for key in build_definitions().resolve_asset_graph().materializable_asset_keys} == set(
        PINNED
    )
