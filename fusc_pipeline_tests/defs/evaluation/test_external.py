"""Models applied as they are: to the corpus's own images, and to another data set that nothing was trained on."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline.defs.engine.check import CheckedVersion
from fusc_pipeline.defs.engine.networks import CorpusPixels
from fusc_pipeline.defs.evaluation import audit_checks
from fusc_pipeline.defs.evaluation.external import NO_BATCH, PREDICTIONS
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, run_config, up_to

UP_TO_KMEANS = 'key:"corpus" or key:"simclr_encoder" or key:"simclr_embeddings" or key:"kmeans_simclr"'


@pytest.fixture(scope="module")
def external_frames():
    """24 small frames of the external phantoms (pixels, view, subject), some of the cervix, and their own labels."""
    import cv2

    from fusc_pipeline.phantom.config import CERVIX, PhantomConfig
    from fusc_pipeline.phantom.render import render_frame

    shares = {CERVIX: 1, "Brain": 1, "Femur": 0.5, "Spine": 0.5}
    config = PhantomConfig(n_frames=24, n_subjects=6, seed=8, view_shares=shares, external=True, cine_share=0.0)
    names = {CERVIX: "Maternal cervix", "Femur": "Fetal femur", "Spine": "Other"}
    frames, own = [], []
    for index in range(config.n_frames):
        frame = render_frame(config, index)
        frames.append((cv2.resize(frame.anatomy, (96, 72), interpolation=cv2.INTER_AREA), frame.view, frame.subject))
        cut = "trans-cerebellum" if "cerebellum near" in frame.structures else "trans-ventricular"
        own.append((names.get(frame.view, f"Fetal brain, {cut}"), "test"))
    return frames, own


def add_external(store: Store, frames, batch: str = "planes", **how) -> None:
    fill_store(store, frames, batch=batch, **how)
    folder = store.root / "inbox" / batch
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x").write_text("delivered")
    Inbox(store.root).register(batch, folder, external=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory, phantom_frames, external_frames):
    """Every model on one labelled batch, then tested on an external one that shares two of its pictures."""
    store = Store(tmp_path_factory.mktemp("external") / "data")
    fill_store(store, phantom_frames)
    frames, own = external_frames
    both = [(pixels, None, subject) for pixels, _, subject in phantom_frames[:2]]
    add_external(store, [*frames, *both], own=[*own, ("Fetal brain", "test"), ("Fetal brain", "test")])
    one = {"seeds": [0]}
    config = run_config(kmeans_simclr={"n_clusters": [4, 3]}, fusc_simclr=one, fusc_dino=one)
    result = materialise(store, up_to("external_purity"), config)
    assert failures(result) == {}
    assert all(check.passed for check in result.get_asset_check_evaluations())
    return store, result


@pytest.mark.parametrize("model", MODELS)
def test_a_finished_model_gives_the_corpuss_images_the_very_clusters_of_its_table(made, model):
    store, _ = made
    row = MODELS[model]
    settings = store.require(row.sees).config
    pixels = CorpusPixels(store, settings["image_size"], settings["resize"])
    table = store.table(model).to_pandas()
    for (k, seed), fit in table.groupby(["n_clusters", "seed"]):
        found = row.predict(store, Compute.detect(None, 1), k, seed, pixels)
        assert found.shape == (len(fit), k)
        of_image = fit.set_index("image_id").loc[pixels.ids]
        assert (found.argmax(1) == of_image["cluster"]).all()
        assert np.allclose(found.max(1), of_image["confidence"], atol=1e-5)


def test_heads_on_cached_embeddings_are_applied_to_embeddings(small_store):
    config = run_config(
        fusc_simclr={"train_backbone": False, "seeds": [0], "n_heads": 2}, simclr_embeddings={"space": "projection"}
    )
    assert failures(materialise(small_store, up_to("fusc_simclr"), config)) == {}
    pixels = CorpusPixels(small_store, 32, "letterbox")
    found = MODELS["fusc_simclr"].predict(small_store, Compute.detect(None, 1), 4, 0, pixels)
    table = small_store.table("fusc_simclr").to_pandas().set_index("image_id").loc[pixels.ids]
    assert (found.argmax(1) == table["cluster"]).all()


def test_external_images_are_in_nothing_that_is_trained(made):
    store, _ = made
    corpus = store.table("corpus").to_pandas()
    assert set(corpus["scan_batch"]) == {"b1"} and len(corpus) == 36
    assert store.require("corpus").metadata["external_batches_left_out"] == 1
    assert len(store.table("simclr_embeddings")) == 36
    scored = set(pq.read_table(store.folder("external_purity") / PREDICTIONS).column("image_id").to_pylist())
    assert scored and not scored & set(corpus["image_id"])


def test_every_fit_is_scored_against_the_sets_own_classes(made, external_frames):
    store, _ = made
    table = store.table("external_purity").to_pandas()
    _, own = external_frames
    other = sum(label == "Other" for label, _ in own)
    assert list(dict.fromkeys(table["model"])) == list(MODELS)
    assert set(table["n"]) == {24 - other} and set(table["n_excluded"]) == {other}
    assert set(table["n_in_corpus"]) == {2} and set(table["n_classes"]) == {3}  # brain planes are one class
    assert set(table["label_source"]) == {"own_label"}
    fitted = table[table["seed"].notna()]
    assert fitted["cluster_purity"].between(0, 1).all() and (fitted["filled_clusters"] > 0).all()
    assert fitted["cluster_purity"].ge(fitted["majority_share"] - 1e-9).all()
    cervix = sum(label == "Maternal cervix" for label, _ in own)
    for places in fitted["unseen"]:
        (place,) = places
        assert place["label"] == "Maternal cervix" and place["n"] == cervix and 0 < place["share"] <= 1
    # K = classes: fitted already, fitted here, or a note which setting adds it; the supervised row's K is given.
    as_many = table[table["as_many_as_classes"]].set_index("model")
    assert as_many.loc["kmeans_simclr", "note"].isna().all() and len(as_many.loc["kmeans_simclr"]) == 2
    assert "fitted here" in as_many.loc["kmeans_dino", "note"]
    assert as_many.loc["fusc_simclr_selflabel", "note"] == "not fitted: add 3 to fusc_simclr.n_clusters"
    assert np.isnan(as_many.loc["deepmcat", "seed"]) and "supervised" not in as_many.index
    shown = store.require("external_purity").metadata["figures"]["md"]
    assert "Maternal cervix" in shown and "| kmeans_simclr | 3 |" in shown


def test_it_is_remade_for_its_own_pictures_and_blocked_by_one_that_reached_the_corpus(small_store, external_frames):
    frames, own = external_frames
    add_external(small_store, frames, own=own)
    chosen = f'{UP_TO_KMEANS} or key:"external_purity"'
    assert set(cache_states(materialise(small_store, chosen)).values()) == {"miss"}
    assert set(cache_states(materialise(small_store, chosen)).values()) == {"hit"}
    add_external(small_store, frames[:20], own=own[:20])
    states = cache_states(materialise(small_store, chosen))
    assert {name for name, state in states.items() if state == "miss"} == {"external_purity"}

    # The mark is taken back, and only the corpus made again.
    Inbox(small_store.root).register("planes", small_store.root / "inbox" / "planes", external=False)
    assert failures(materialise(small_store, 'key:"corpus"')) == {}
    check = audit_checks.external_images_are_unknown_to_the_models
    found = check.judge(CheckedVersion(small_store, small_store.require("external_purity")))
    assert not found.passed and "1 scored batches are in the corpus" in found.description


def test_a_probability_that_is_no_number_fails_the_check(small_store, external_frames, monkeypatch):
    add_external(small_store, external_frames[0][:6])
    row = MODELS["kmeans_simclr"]
    broken = replace(row, predict=lambda *given: np.full_like(row.predict(*given), np.nan))
    monkeypatch.setitem(MODELS, "kmeans_simclr", broken)
    result = materialise(small_store, f'{UP_TO_KMEANS} or key:"external_purity"')
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed == ["external_predictions_are_sound"]


def test_without_an_external_batch_it_says_how_to_add_one(small_store):
    assert failures(materialise(small_store, 'key:"corpus" or key:"external_purity"')) == {}
    assert small_store.table("external_purity").num_rows == 0
    assert small_store.require("external_purity").metadata["figures"] == NO_BATCH


def test_without_labels_there_are_sizes_only(small_store, external_frames):
    add_external(small_store, external_frames[0], labels=False)
    assert failures(materialise(small_store, f'{UP_TO_KMEANS} or key:"external_purity"')) == {}
    table = small_store.table("external_purity").to_pandas()
    assert (table["label_source"] == "none").all() and (table["n"] == 0).all() and table["cluster_purity"].isna().all()
    assert (table["n_unlabelled"] == 24).all() and (table["filled_clusters"] > 0).all()
    assert "only sizes" in small_store.require("external_purity").metadata["figures"]["md"]


def test_when_every_batch_is_external_the_corpus_says_so(tmp_path, external_frames):
    store = Store(tmp_path / "data")
    add_external(store, external_frames[0])
    reason = failures(materialise(store, 'key:"corpus"'))["corpus"]
    assert "every batch (planes) is external" in reason and "--no-external" in reason
