"""Half an output is none: files are declared, what lacks one is made again, nothing is built on it."""

import json
import shutil

import pytest

from fusc_pipeline.base.schemas import CLUSTERS
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.clustering.fits import fit_each, load_fit
from fusc_pipeline.store.draft import Draft
from fusc_pipeline.store.records import RECORD
from fusc_pipeline.store.store import Recipe, Store
from fusc_pipeline.store.whole import broken, fit_files, gone, lacking
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, run_config, up_to

LOST = "k4-seed1.safetensors"
ROWS = 'key:"kmeans_simclr" or key:"purity_report" or key:"cluster_composition"'


@pytest.fixture(scope="module")
def made_once(tmp_path_factory, phantom_frames) -> Store:
    """A store up to the purity of k-means, not to be changed."""
    store = Store(tmp_path_factory.mktemp("whole") / "data")
    fill_store(store, phantom_frames)
    assert failures(materialise(store, f"({up_to('simclr_neighbors')}) or {ROWS}")) == {}
    return store


@pytest.fixture
def store(made_once, tmp_path) -> Store:
    shutil.copytree(made_once.root, tmp_path / "data")
    return Store(tmp_path / "data")


def lose(store: Store, asset: str = "kmeans_simclr", name: str = LOST) -> None:
    """What a disk fault or a hand does."""
    (store.folder(asset) / name).unlink()


def as_an_earlier_release_lost_it(store: Store, asset: str = "kmeans_simclr") -> None:
    """Published without the weights of a fit that its table holds, and its record knows of no more than it kept."""
    lose(store, asset)
    path = store.folder(asset) / RECORD
    content = json.loads(path.read_text())
    del content["files"][LOST], content["holds"], content["sizes"], content["content"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("loses", [lose, as_an_earlier_release_lost_it])
def test_a_fit_without_weights_is_seen_and_made_again(store, loses):
    before = store.require("kmeans_simclr")
    loses(store)
    assert lacking(store, store.require("kmeans_simclr")) == [LOST]
    (sentence,) = broken(store)
    assert sentence.startswith(f"kmeans_simclr: file {LOST} of it is gone or cut short; the next run")
    found = materialise(store, ROWS)
    assert failures(found) == {} and cache_states(found)["kmeans_simclr"] == "miss"
    healed = store.require("kmeans_simclr")
    assert lacking(store, healed) == [] and (store.place(healed) / LOST).is_file()
    assert set(fit_files([4], [0, 1])) == set(healed.holds)
    # The same table and the same weights as before: nothing after it has to be made again.
    assert healed.data_version == before.data_version and cache_states(found)["purity_report"] == "hit"
    assert set(cache_states(materialise(store, ROWS)).values()) == {"hit"}


@pytest.mark.parametrize("loses", [lose, as_an_earlier_release_lost_it])
def test_a_run_that_leaves_it_out_refuses_in_words_or_leaves_its_row_out(store, loses):
    assert failures(materialise(store, 'key:"fusc_simclr"')) == {}
    loses(store, "fusc_simclr")
    refused = failures(materialise(store, 'key:"fusc_simclr_selflabel"'))["fusc_simclr_selflabel"]
    assert refused.startswith(f"fusc_simclr: file {LOST} of it is gone or cut short, so nothing is built on it")
    assert "candidate_model" in failures(materialise(store, 'key:"candidate_model"'))
    found = materialise(store, 'key:"purity_report"')
    assert failures(found) == {}
    assert set(store.table("purity_report").column("model").to_pylist()) == {"kmeans_simclr"}


def test_checks_do_not_judge_what_lacks_a_file(store):
    lose(store)
    definitions = build_definitions(root=str(store.root))
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        op_selection=["kmeans_simclr_checks"], raise_on_error=False
    )
    results = result.get_asset_check_evaluations()
    assert results and not any(check.passed for check in results)
    assert all(f"file {LOST} of it is gone or cut short" in check.description for check in results)
    verdicts = store.verdicts("kmeans_simclr").values()
    assert all(verdict.passed for verdict in verdicts), "what was said of the whole version is not said anew"


def test_an_encoder_whose_weights_come_out_otherwise_makes_all_after_it_anew(store, monkeypatch):
    from fusc_pipeline.defs.representation import encoders

    before = store.require("simclr_encoder")
    lose(store, "simclr_encoder", "weights.safetensors")
    save = encoders.save_weights

    def otherwise(path, state):
        save(path, {name: value * 1.01 if value.is_floating_point() else value for name, value in state.items()})

    monkeypatch.setattr(encoders, "save_weights", otherwise)
    found = materialise(store, 'key:"simclr_encoder" or key:"simclr_embeddings"')
    assert failures(found) == {} and set(cache_states(found).values()) == {"miss"}
    after = store.require("simclr_encoder")
    assert after.fingerprint == before.fingerprint and after.data_version != before.data_version


def test_an_encoder_made_again_to_the_same_weights_leaves_what_comes_after_it_fresh(store):
    lose(store, "simclr_encoder", "projection.safetensors")
    found = materialise(store, 'key:"simclr_encoder" or key:"simclr_embeddings"')
    assert failures(found) == {}
    assert cache_states(found) == {"simclr_encoder": "miss", "simclr_embeddings": "hit"}


class Killed(BaseException):
    """No Exception, as a kill is none."""


def fits(store: Store, fitted: list, killed_at: str = "") -> None:
    """Two fits of one asset; killed before the table is written, or the version published."""
    import torch

    def fit(k: int, seed: int):
        fitted.append((k, seed))
        rows = {"image_id": "a", "split": "train", "n_clusters": k, "seed": seed, "cluster": 0, "confidence": 1.0}
        from pyarrow import Table

        return Table.from_pylist([rows], schema=CLUSTERS), {"w": torch.ones(2)}, [{"loss": 1.0, "seconds": 2.0}]

    with store.exclusive("kmeans_simclr", None):
        with store.write("kmeans_simclr", None, Recipe("1"), {}, holds=fit_files([4], [0, 1])) as draft:
            fit_each(draft, [4], [0, 1], fit)
            if killed_at == "published":
                raise Killed


@pytest.mark.parametrize("moment", ["table", "published"])
def test_a_kill_between_the_fits_and_their_publication_loses_nothing(tmp_path, monkeypatch, moment):
    store, fitted = Store(tmp_path), []

    def killed(*_args):
        raise Killed

    if moment == "table":
        monkeypatch.setattr(Draft, "write_table", killed)
    for _ in range(2):
        with pytest.raises(Killed):
            fits(store, fitted, moment)
    monkeypatch.undo()
    fits(store, fitted)
    assert fitted == [(4, 0), (4, 1)], "a finished fit is not made again"
    record = store.require("kmeans_simclr")
    assert lacking(store, record) == [] and set(record.files) == set(fit_files([4], [0, 1]))
    assert list((tmp_path / "work" / "kmeans_simclr" / "_").iterdir()) == []


def test_a_finished_fit_of_an_earlier_release_that_lost_its_weights_is_made_again(tmp_path):
    store, fitted = Store(tmp_path), []
    with pytest.raises(Killed):
        fits(store, fitted, "published")
    (done,) = tmp_path.glob("work/kmeans_simclr/_/*/k4-seed0.done")
    (done / "k4-seed0.safetensors").unlink()
    fits(store, fitted)
    assert fitted == [(4, 0), (4, 1), (4, 0)] and lacking(store, store.require("kmeans_simclr")) == []


@pytest.mark.parametrize(
    "name, content",
    [("k4-seed0.safetensors", b"cut"), ("k4-seed0.safetensors", b""), ("rows.parquet", b""), ("history.json", b"[{")],
)
def test_a_finished_fit_that_cannot_be_read_is_made_again(tmp_path, name, content):
    store, fitted = Store(tmp_path), []
    with pytest.raises(Killed):
        fits(store, fitted, "published")
    (done,) = tmp_path.glob("work/kmeans_simclr/_/*/k4-seed0.done")
    (done / name).write_bytes(content)
    fits(store, fitted)
    assert fitted == [(4, 0), (4, 1), (4, 0)] and lacking(store, store.require("kmeans_simclr")) == []
    assert load_fit(store, "kmeans_simclr", 4, 0)["w"].tolist() == [1.0, 1.0]


def test_a_corpus_that_lost_what_it_knows_of_pictures_reads_them_again(store):
    before = store.require("corpus")
    (store.folder("corpus") / "pixels.parquet").write_bytes(b"")
    assert failures(materialise(store, "corpus")) == {}
    assert store.require("corpus").data_version == before.data_version and lacking(store, store.require("corpus")) == []


def test_a_spoilt_pixel_cache_is_built_again(store):
    (cache,) = (store.root / "work" / "pixels").glob("[!.]*/pixels.u8")
    good = cache.read_bytes()
    cache.write_bytes(bytes(len(good)))
    assert failures(materialise(store, 'key:"simclr_embeddings"', run_config(simclr_embeddings={"force": True}))) == {}
    assert cache.read_bytes() == good
    cache.with_name("index.json").write_text("[]")
    assert failures(materialise(store, 'key:"simclr_embeddings"', run_config(simclr_embeddings={"force": True}))) == {}
    assert cache.read_bytes() == good


def test_every_asset_declares_its_files(store):
    """What is in no declaration is pictures, whose number is known only once they are made."""
    for folder in sorted((store.root / "assets").glob("*/*/*/")):
        content = json.loads((folder / RECORD).read_text())
        if content["code_version"] == "test":
            continue  # made by hand
        rest = set(content["files"]) - set(content["holds"])
        assert all(name.endswith((".jpg", ".png")) for name in rest), (content["asset"], rest)
        assert content["holds"] or content["asset"] == "cluster_gallery"


def test_words():
    assert gone(["a"]) == "file a of it is gone or cut short"
    assert gone(["b", "a"]) == "files a and b of it are gone or cut short"
