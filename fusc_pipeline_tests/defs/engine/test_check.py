"""A check runs once per version, what it said is kept, and nothing is built on a version that failed."""

import json

import pyarrow as pa
import pytest

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.schemas import CLEAN_IMAGES, PSEUDO_LABELS, PURITY, TABLES
from fusc_pipeline.defs import table_checks
from fusc_pipeline.defs.dataset.checks import subjects_in_one_split
from fusc_pipeline.defs.engine.arrays import cluster_rows
from fusc_pipeline.defs.engine.check import WARN, Check, CheckedVersion, check, checks_of, finding
from fusc_pipeline.defs.evaluation import checks as checks_quality
from fusc_pipeline.defs.text import checks as checks_batches
from fusc_pipeline.store.store import Recipe, Store
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import failures, materialise, run_config


def evaluations(result) -> dict:
    return {(e.asset_key.to_user_string(), e.check_name): e for e in result.get_asset_check_evaluations()}


def made(store: Store, asset: str, partition: str | None = None) -> CheckedVersion:
    return CheckedVersion(store, store.require(asset, partition))


def publish(store: Store, asset: str, rows: list[dict], partition: str | None = None, config=None, inputs=None, **more):
    with store.write(asset, partition, Recipe("1", config or {}), inputs or {}) as draft:
        draft.write_table(pa.Table.from_pylist(rows, schema=TABLES[asset]))
        draft.metadata |= {"dagster/row_count": len(rows), **more}


def test_a_check_runs_once_per_version_and_again_when_the_version_is_made_anew(small_store, monkeypatch):
    first = evaluations(materialise(small_store, "corpus"))
    assert {name for _, name in first} == {"table_is_sound", "subjects_in_one_split", "labels_were_read"}
    assert {e.metadata["fusc/cache"].value for e in first.values()} == {"miss"}

    def unreadable(*_given, **_more):
        raise AssertionError("a table was read again")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "table", unreadable)
        second = evaluations(materialise(small_store, "corpus"))
    assert {e.metadata["fusc/cache"].value for e in second.values()} == {"hit"}
    assert {key: (e.passed, e.description) for key, e in second.items()} == {
        key: (e.passed, e.description) for key, e in first.items()
    }
    forced = evaluations(materialise(small_store, "corpus", run_config(corpus={"force": True})))
    assert {e.metadata["fusc/cache"].value for e in forced.values()} == {"miss"}


def test_a_later_run_refuses_what_failed_until_it_is_made_properly(small_store, monkeypatch):
    broken = lambda *given: ["train", "test"] * 18  # noqa: E731 - subjects end up on both sides
    with monkeypatch.context() as patched:
        patched.setattr("fusc_pipeline.evaluation.splitting.split_by_subject", broken)
        first = materialise(small_store, 'key:"corpus" or key:"simclr_encoder"')
    assert not first.success
    assert not evaluations(first)["corpus", "subjects_in_one_split"].passed
    assert small_store.record("simclr_encoder") is None  # the same run did not go on

    told = failures(materialise(small_store, "simclr_encoder"))["simclr_encoder"]
    assert "corpus failed a check, so nothing is built on it" in told and "subjects are in both splits" in told
    assert "Mend it and materialise it again" in told
    # What it said stands as long as the version does.
    again = evaluations(materialise(small_store, "corpus"))["corpus", "subjects_in_one_split"]
    assert not again.passed and again.metadata["fusc/cache"].value == "hit"

    assert failures(materialise(small_store, "corpus", run_config(corpus={"force": True}))) == {}
    assert failures(materialise(small_store, "simclr_encoder")) == {}


def test_a_check_of_another_release_judges_again(small_store):
    assert failures(materialise(small_store, "corpus")) == {}
    renewed = Check("corpus", "subjects_in_one_split", "", lambda _made: finding(False, "worse", WARN), True, "2")
    verdict, kept = renewed.verdict(made(small_store, "corpus"))
    assert not kept and not verdict.passed and not verdict.blocks  # a warning blocks nothing
    assert small_store.refusal("corpus") is None
    assert subjects_in_one_split.verdict(made(small_store, "corpus"))[0].passed


def test_of_a_batch_the_version_of_that_batch_is_judged(small_store, phantom_frames):
    fill_store(small_store, phantom_frames[:9], batch="b2")
    one = next(c for c in table_checks.tables_are_sound if c.asset == "pseudo_labels")
    assert one.verdict(made(small_store, "pseudo_labels", "b2"))[0].metadata["rows"] == 9
    assert one.name in small_store.verdicts("pseudo_labels", "b2")
    assert small_store.verdicts("pseudo_labels", "b1") == {}


def test_every_table_has_its_check_and_names_are_unique():
    from fusc_pipeline.defs.evaluation import audit_checks

    everything = checks_of(table_checks, audit_checks, checks_batches, checks_quality)
    names = [(c.asset, c.name) for c in everything]
    assert len(names) == len(set(names))
    assert {c.asset for c in everything if c.name == "table_is_sound" and c.blocking} == set(TABLES)
    assert all(c.description for c in everything)
    for asset in TABLES:
        assert set(table_checks.key_of(asset)) <= set(TABLES[asset].names)


def test_numbers_are_kept_plain(small_store):
    import numpy as np

    @check("corpus")
    def judged(_made):
        """Counts."""
        return finding(True, "", images=np.int64(3), share=np.float32(0.5))

    assert failures(materialise(small_store, "corpus")) == {}
    verdict, _ = judged.verdict(made(small_store, "corpus"))
    assert json.loads(json.dumps(verdict.metadata)) == {"images": 3, "share": 0.5}
    assert judged.description == "Counts."


LABEL = {"image_id": "a", "view": None, "reason": "no_text"}


def test_rows_that_are_there_twice_fail_their_table(small_store):
    publish(small_store, "pseudo_labels", [LABEL, LABEL, {**LABEL, "image_id": "b"}], "b9")
    one = next(c for c in table_checks.tables_are_sound if c.asset == "pseudo_labels")
    verdict, _ = one.verdict(made(small_store, "pseudo_labels", "b9"))
    assert verdict.blocks and not verdict.passed
    assert "1 rows are there twice (by image_id)" in verdict.description and "with force" in verdict.description


def clean(image_id: str, **change) -> dict:
    row = dict.fromkeys(CLEAN_IMAGES.names) | {"image_id": image_id, "subject_key": "s", "subject_source": "file"}
    return row | {"height": 4, "repairs": 0} | change


@pytest.mark.parametrize(
    "rows, config, passed, blocks, words",
    [
        ([clean("a"), clean("b", quarantined="no fan", height=None)], {"check_text": True}, True, True, "as it should"),
        ([clean("a", repairs=None)], {"check_text": True}, False, True, "1 of 1 frames that go on were not read again"),
        ([clean("a", quarantined="no fan")], {"check_text": True}, False, True, "still have a picture"),
        ([clean("a", repairs=None)], {"check_text": False}, False, False, "check_text is off"),
    ],
)
def test_frames_go_on_only_when_read_again(small_store, rows, config, passed, blocks, words):
    publish(small_store, "clean_images", rows, "b9", config)
    verdict, _ = checks_batches.no_text_is_left.verdict(made(small_store, "clean_images", "b9"))
    assert (verdict.passed, verdict.blocks) == (passed, blocks) and words in verdict.description


def labels(labelled: int, of: int, unread: int = 0) -> list[dict]:
    reasons = ["labelled"] * labelled + ["unread"] * unread + ["no_text"] * (of - labelled - unread)
    return [dict.fromkeys(PSEUDO_LABELS.names) | {"image_id": str(i), "reason": r} for i, r in enumerate(reasons)]


def test_a_batch_whose_labels_are_not_read_as_elsewhere_warns(tmp_path):
    store = Store(tmp_path)
    for batch, share in (("a", 0.8), ("b", 0.7), ("c", 0.9)):
        publish(store, "pseudo_labels", labels(int(share * 20), 20), batch, coverage=share)
    for batch, rows, words in (
        ("d", labels(4, 40), "4 of 40 frames have a readable view label; in other batches it is 80%"),
        ("e", labels(20, 40, unread=10), "10 of 40 frames could not be read"),
        ("f", labels(30, 40), None),
        ("g", labels(0, 5), None),  # too few to say
    ):
        publish(store, "pseudo_labels", rows, batch)
        said = checks_batches.text_was_read_as_elsewhere.judge(made(store, "pseudo_labels", batch))
        assert said.severity is WARN or said.passed
        assert said.passed == (words is None) and (words or "") in said.description


def purity(value: float, filled: int = 4, model: str = "kmeans_simclr") -> list[dict]:
    row = dict.fromkeys(PURITY.names) | {"model": model, "n_clusters": 4, "seed": 0, "n": 9, "n_unlabelled": 0}
    both = row | {"label_set": "views", "cluster_purity": value, "filled_clusters": filled}
    return [both | {"split": split} for split in ("train", "test")]


def test_lost_purity_and_dead_clusters_warn_with_the_models_named(tmp_path):
    store = Store(tmp_path)
    publish(store, "purity_report", purity(0.8), inputs={"corpus": "1"})
    assert checks_quality.purity_did_not_drop.judge(made(store, "purity_report")).passed
    publish(store, "purity_report", purity(0.7, filled=3), inputs={"corpus": "2"})
    fallen = checks_quality.purity_did_not_drop.judge(made(store, "purity_report"))
    assert not fallen.passed and "kmeans_simclr at K 4: 0.80, now 0.70" in fallen.description
    dead = checks_quality.no_cluster_is_dead.judge(made(store, "purity_report"))
    assert not dead.passed and "kmeans_simclr: up to 1 of 4" in dead.description
    publish(store, "purity_report", purity(0.69), inputs={"corpus": "3"})
    assert checks_quality.purity_did_not_drop.judge(made(store, "purity_report")).passed


@pytest.mark.parametrize("bad", [float("nan"), 0.5, -0.2])
def test_what_is_no_probability_makes_no_table(bad):
    import numpy as np

    good = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    assert cluster_rows(["a", "b"], ["train", "test"], good, 2, 0).num_rows == 2
    good[0, 0] = bad
    with pytest.raises(BadInput, match="for 1 of 2 images the model gives no probabilities"):
        cluster_rows(["a", "b"], ["train", "test"], good, 2, 0)
