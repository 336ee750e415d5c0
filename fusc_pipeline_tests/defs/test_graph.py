"""The graph from the corpus to the report on tiny data: everything materialises, nothing is made twice."""

import json

import pytest

from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, run_config, up_to

MADE = {
    "corpus",
    *(f"{encoder}_{part}" for encoder in ("simclr", "dino") for part in ("encoder", "embeddings", "neighbors")),
    *MODELS,
    "purity_report",
    "cluster_composition",
    "cluster_gallery",
    "cluster_report",
    "external_purity",
    "inpainting_audit",
    "label_audit",
    "candidate_model",
    "model_in_service",
}


def test_everything_is_made_once_and_a_changed_setting_remakes_what_depends_on_it(small_store):
    first = materialise(small_store)
    assert failures(first) == {}
    assert cache_states(first) == dict.fromkeys(MADE, "miss")
    _each_shows_something_of_itself(first)
    _tables_hold_what_their_names_say(small_store)
    # One epoch leaves some clusters without an image: a warning, and the only one.
    assert {c.check_name for c in first.get_asset_check_evaluations() if not c.passed} <= {"no_cluster_is_dead"}

    second = materialise(small_store)
    assert cache_states(second) == dict.fromkeys(MADE, "hit")

    # The head's learning rate decides the two FUSC rows and what is reported of them, nothing else.
    changed = materialise(small_store, config=run_config(fusc_simclr={"head_lr": 0.01}))
    assert failures(changed) == {}
    states = cache_states(changed)
    dependent = {"fusc_simclr", "fusc_simclr_selflabel", "purity_report", "cluster_composition", "cluster_gallery"}
    assert {name for name, state in states.items() if state == "miss"} == dependent | {
        "cluster_report",
        "candidate_model",
        "model_in_service",
    }

    # A setting that only says how the work is done remakes nothing; the page tells of the models that came since.
    states = cache_states(materialise(small_store, config=run_config(fusc_simclr={"threads": 2})))
    assert {name for name, state in states.items() if state == "miss"} == {"cluster_report"}


def _each_shows_something_of_itself(result):
    """A preview in Markdown, small enough for the event log; numbers as numbers, so that the UI can plot them."""
    for event in result.get_asset_materialization_events():
        found = event.step_materialization_data.materialization
        shown = {k: v.value for k, v in found.metadata.items() if type(v).__name__ == "MarkdownMetadataValue"}
        assert shown, found.asset_key
        assert sum(len(text) for text in shown.values()) < 150_000, found.asset_key
        assert all(text.strip() for text in shown.values()), found.asset_key


def _tables_hold_what_their_names_say(small_store):
    corpus = small_store.table("corpus").to_pandas()
    assert len(corpus) == 36 and corpus["image_id"].is_unique
    assert corpus.groupby("subject_key")["split"].nunique().eq(1).all()
    neighbours = small_store.table("simclr_neighbors").to_pandas()
    train = set(corpus.loc[corpus["split"] == "train", "image_id"])
    assert all(
        len(ids) == 3 and own not in ids and train.issuperset(ids)
        for own, ids in zip(neighbours["image_id"], neighbours["neighbor_ids"], strict=True)
    )
    purity = small_store.table("purity_report").to_pandas()
    assert list(dict.fromkeys(purity["model"])) == list(MODELS)
    assert set(purity["label_set"]) == {"views", "groups"}
    assert sorted(purity.loc[purity["model"] == "fusc_simclr", "seed"].unique()) == [0, 1]
    fit = (purity["model"] == "fusc_simclr") & (purity["seed"] == 0) & (purity["label_set"] == "views")
    (told,) = purity.loc[fit & (purity["split"] == "test"), "cluster_purity"]
    clusters = small_store.table("fusc_simclr").to_pandas()
    mine = clusters[(clusters["seed"] == 0) & (clusters["split"] == "test")].merge(corpus, on="image_id")
    assert told == mine.groupby("cluster")["view"].agg(lambda views: views.value_counts().iloc[0]).sum() / len(mine)
    page = (small_store.root / "report.html").read_text()
    assert "synthetic" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert len(list(small_store.folder("cluster_gallery").glob("cluster-*.jpg"))) > 0


def test_without_any_label_clusters_are_made_and_purity_is_left_out(tmp_path, phantom_frames):
    from fusc_pipeline.store.store import Store

    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames, labels=False)
    result = materialise(store)
    assert failures(result) == {}
    warned = [c for c in result.get_asset_check_evaluations() if not c.passed]
    assert {c.check_name for c in warned} - {"no_cluster_is_dead"} == {"labels_were_read"}
    purity = store.table("purity_report").to_pandas()
    assert set(purity["model"]) == set(MODELS) - {"supervised"}
    assert purity["cluster_purity"].isna().all() and (purity["filled_clusters"] > 0).all()
    assert store.table("supervised").num_rows == 0


def test_several_k_and_seeds_are_columns_and_checkpoints(small_store):
    config = run_config(kmeans_simclr={"n_clusters": [2, 4], "seeds": [0, 7]})
    assert failures(materialise(small_store, up_to("kmeans_simclr"), config)) == {}
    fits = small_store.table("kmeans_simclr").to_pandas().groupby(["n_clusters", "seed"]).size()
    assert dict(fits) == {(2, 0): 36, (2, 7): 36, (4, 0): 36, (4, 7): 36}
    assert {p.name for p in small_store.folder("kmeans_simclr").glob("*.safetensors")} == {
        f"k{k}-seed{s}.safetensors" for k in (2, 4) for s in (0, 7)
    }


def test_self_labelling_goes_on_from_the_seeds_that_are_named(small_store):
    until = up_to("fusc_simclr_selflabel")
    config = run_config(fusc_simclr={"train_backbone": False}, fusc_simclr_selflabel={"seeds": [1]})
    assert failures(materialise(small_store, until, config)) == {}
    assert set(small_store.table("fusc_simclr_selflabel").column("seed").to_pylist()) == {1}
    config = run_config(fusc_simclr={"train_backbone": False}, fusc_simclr_selflabel={"seeds": [7]})
    assert (
        "seeds holds 7, which fusc_simclr has not"
        in failures(materialise(small_store, until, config))["fusc_simclr_selflabel"]
    )


@pytest.mark.parametrize("train_backbone", [False, True])
def test_fusc_trains_the_head_or_the_whole_network(small_store, train_backbone):
    config = run_config(fusc_simclr={"train_backbone": train_backbone, "seeds": [0]})
    assert failures(materialise(small_store, up_to("fusc_simclr_selflabel"), config)) == {}
    from safetensors.numpy import load_file

    before = load_file(small_store.folder("simclr_encoder") / "weights.safetensors")
    after = load_file(small_store.folder("fusc_simclr") / "k4-seed0.safetensors")
    backbone = {name.removeprefix("backbone."): value for name, value in after.items() if name.startswith("backbone.")}
    if train_backbone:
        assert (backbone["conv1.weight"] != before["conv1.weight"]).any()
    else:
        assert backbone == {}


def test_training_is_watched_by_knn_accuracy_and_not_changed_by_it(small_store):
    def weights(every):
        config = run_config(simclr_encoder={"monitor_every": every, "epochs": 2, "force": True})
        assert failures(materialise(small_store, up_to("simclr_neighbors"), config)) == {}
        folder = small_store.folder("simclr_encoder")
        return (folder / "weights.safetensors").read_bytes(), json.loads((folder / "history.json").read_text())

    (watched, history), (alone, plain) = weights(1), weights(0)
    assert watched == alone
    assert [("knn_accuracy" in entry) for entry in history] == [True, True]
    assert "knn_accuracy" not in plain[0]


def test_a_frozen_checkpoint_stands_in_for_training(small_store, tmp_path):
    """A checkpoint that is named gives the embeddings as it is, wherever its file lies, and everything after runs."""
    from safetensors.torch import save_file

    from fusc_pipeline.representation.backbones import build_backbone
    from fusc_pipeline.representation.simclr import on_cpu

    def run(path, frozen=True, until="dino_neighbors"):
        choice = {"name": "vit_tiny_patch16_224", "weights": str(path), "frozen": frozen}
        return materialise(small_store, up_to(until), run_config(dino_encoder={"encoder": choice}))

    given = tmp_path / "given.safetensors"
    save_file(on_cpu(build_backbone("vit_tiny_patch16_224", 3, seed=4)), given)
    assert failures(run(given, until="fusc_dino_selflabel")) == {}
    assert json.loads((small_store.folder("dino_encoder") / "history.json").read_text()) == []
    before = small_store.require("dino_embeddings").data_version
    moved = given.rename(tmp_path / "moved.safetensors")
    assert set(cache_states(run(moved)).values()) == {"hit"}
    save_file(on_cpu(build_backbone("vit_tiny_patch16_224", 3, seed=5)), moved)
    assert failures(run(moved)) == {}
    assert small_store.require("dino_embeddings").data_version != before
    assert failures(run(moved, frozen=False)) == {}
    assert len(json.loads((small_store.folder("dino_encoder") / "history.json").read_text())) == 1
    assert "is no file" in failures(run(tmp_path / "gone.safetensors"))["dino_encoder"]
    assert "without encoder.weights" in failures(run(""))["dino_encoder"]


def test_a_cache_hit_shows_the_same_metadata_again(small_store):
    def shown(result):
        return {
            e.step_materialization_data.materialization.asset_key.to_user_string(): {
                name: value.value
                for name, value in e.step_materialization_data.materialization.metadata.items()
                if name != "fusc/cache"
            }
            for e in result.get_asset_materialization_events()
        }

    assert shown(materialise(small_store, up_to("kmeans_simclr"))) == shown(
        materialise(small_store, up_to("kmeans_simclr"))
    )


def test_more_clusters_than_images_names_both_numbers(small_store):
    result = materialise(small_store, up_to("kmeans_simclr"), run_config(kmeans_simclr={"n_clusters": [500]}))
    assert "500 clusters were asked for, but there are only" in failures(result)["kmeans_simclr"]


def test_an_asset_without_its_upstream_names_the_command(tmp_path):
    from fusc_pipeline.store.store import Store

    result = materialise(Store(tmp_path / "data"), "simclr_embeddings")
    assert "dagster asset materialize --select '+key:\"corpus\"'" in failures(result)["simclr_embeddings"]


def test_an_empty_corpus_says_what_to_do(tmp_path, phantom_frames):
    from fusc_pipeline.store.store import Store

    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames[:3], quarantine=3)
    assert "no clean image in any batch" in failures(materialise(store, "corpus"))["corpus"]


def test_refused_input_is_not_retried(small_store):
    result = materialise(small_store, up_to("kmeans_simclr"), run_config(kmeans_simclr={"n_clusters": [500]}))
    assert not any(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)


def test_a_full_disk_leaves_the_last_good_version(small_store, monkeypatch):
    import errno
    import os

    assert failures(materialise(small_store, "corpus")) == {}
    good = small_store.require("corpus").fingerprint

    def full(_path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = materialise(small_store, "corpus", run_config(corpus={"seed": 5}))
    assert "No space left on device while writing under" in failures(result)["corpus"]
    assert small_store.require("corpus").fingerprint == good
    assert [p.name for p in (small_store.root / "assets" / "corpus" / "_").iterdir() if p.name.startswith(".")] == []


def test_histories_are_kept_per_fit(small_store):
    assert failures(materialise(small_store, up_to("fusc_simclr"))) == {}
    fits = json.loads((small_store.folder("fusc_simclr") / "history.json").read_text())
    assert [(f["n_clusters"], f["seed"], len(f["history"])) for f in fits] == [(4, 0, 1), (4, 1, 1)]


def test_a_row_is_left_out_when_it_was_not_made_or_made_from_another_corpus(small_store, phantom_frames):
    kept = 'key:"corpus" or key:"kmeans_simclr" or key:"purity_report"'
    before = "key:simclr_encoder or key:simclr_embeddings or key:simclr_neighbors"
    assert failures(materialise(small_store, f"{kept} or {before}")) == {}
    assert set(small_store.table("purity_report").column("model").to_pylist()) == {"kmeans_simclr"}
    assert small_store.outdated_by("kmeans_simclr") is None
    fill_store(small_store, phantom_frames[:30], batch="b2")
    fill_store(small_store, phantom_frames[:18], batch="b1")
    assert failures(materialise(small_store, 'key:"corpus" or key:"purity_report"')) == {}
    assert small_store.outdated_by("kmeans_simclr") == "corpus"
    assert small_store.table("purity_report").num_rows == 0
