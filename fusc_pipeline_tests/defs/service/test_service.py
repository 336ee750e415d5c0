"""The model in service over renewals: promoted, kept out, rolled back; identities stay; batches are assigned."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.cli.reasons import reasons
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.planning import plan_asset
from fusc_pipeline.defs.service import compared
from fusc_pipeline.defs.service.candidate import _seen_before
from fusc_pipeline.service.bundle import Bundle
from fusc_pipeline.service.in_service import history_rows, models_folder, served
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, run_config, up_to

DECISION = 'key:"candidate_model" or key:"model_in_service"'


@pytest.fixture(scope="module")
def trained(tmp_path_factory, phantom_frames) -> Store:
    """A store in which a first model was trained and put in service. Not to be changed: copy it."""
    store = Store(tmp_path_factory.mktemp("trained") / "data")
    fill_store(store, phantom_frames[:28])
    renew(store, up_to("model_in_service"))
    return store


@pytest.fixture
def store(trained, tmp_path) -> Store:
    shutil.copytree(trained.root, tmp_path / "data")
    return Store(tmp_path / "data")


def renew(store: Store, selection: str = DECISION, seed: int = 0, **service) -> dict[str, str]:
    """Let the fit of this seed be the candidate, and decide about it; states by asset."""
    result = materialise(store, selection, settings(seed, **service))
    assert failures(result) == {}
    refused = [c for c in result.get_asset_check_evaluations() if not c.passed and c.severity.value == "ERROR"]
    assert refused == []
    return cache_states(result)


def settings(seed: int = 0, **service) -> dict:
    fits = {"n_clusters": [4], "seeds": [0, 1, 2]}
    return run_config(fusc_simclr=fits, candidate_model={"seed": seed}, model_in_service=service)


def use(store: Store, number: int) -> dict[str, str]:
    return renew(store, 'key:"model_in_service"', use=number)


def assign(store: Store, batch: str = "b1", **config) -> dict[str, str]:
    found = assigning(store, batch, **config)
    assert failures(found) == {}
    return cache_states(found)


def assigning(store: Store, batch: str = "b1", **config) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("scan_batch", [batch])
        return (
            build_definitions(root=str(store.root))
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                asset_selection=[dg.AssetKey("batch_assignments")],
                partition_key=batch,
                instance=instance,
                run_config={"ops": {"batch_assignments": {"config": {"threads": 1, **config}}}},
                raise_on_error=False,
            )
        )


def history(store: Store) -> list[tuple]:
    return [(r["action"], r["number"], r["in_service"]) for r in store.table("model_in_service").to_pylist()]


def test_the_first_model_comes_into_service_and_nothing_new_changes_nothing(store):
    assert history(store) == [("promoted", 1, 1)]
    model = served(store)
    assert model.number == 1 and model.identities == (0, 1, 2, 3)
    bundle = model.bundle()
    bundle.check()
    corpus = store.table("corpus")
    assert bundle.facts.images == {s: corpus.column("split").to_pylist().count(s) for s in ("train", "test")}
    assert len(bundle.vectors()) == bundle.table().num_rows == 28
    assert np.isfinite(bundle.facts.evaluation["neighbour_agreement"])
    assert set(renew(store).values()) == {"hit"}
    assert history(store) == [("promoted", 1, 1)]


def test_renewals_promotion_by_name_and_rollback(store, monkeypatch):
    # A worse candidate is kept out; its number stays its own.
    worse(monkeypatch)
    renew(store, seed=1)
    assert history(store)[1:] == [("kept", 2, 1)] and served(store).number == 1
    assert set(renew(store, seed=1).values()) == {"hit"}
    # By name it comes in, and again changes nothing.
    use(store, 2)
    assert history(store)[2:] == [("promoted", 2, 2)]
    use(store, 2)
    assert len(history(store)) == 3
    # Rolled back, and no run without a newer candidate undoes it, whatever the rule.
    use(store, 1)
    assert history(store)[3:] == [("rolled_back", 1, 1)]
    assert served(store).identities == (0, 1, 2, 3)
    for rule in ("auto", "always", "auto"):
        assert renew(store, seed=1, promote=rule)["model_in_service"] == "hit"
        assert served(store).number == 1 and len(history(store)) == 4
    # The next candidate is decided upon as any other.
    renew(store, seed=2, promote="always")
    assert history(store)[4:] == [("promoted", 3, 3)]
    # A candidate that was decided upon before adds nothing when it comes back.
    renew(store, seed=1)
    assert served(store).number == 3 and len(history(store)) == 5
    told = failures(materialise(store, 'key:"model_in_service"', run_config(model_in_service={"use": 9})))
    assert "there is no model 9; known: 1, 2, 3" in told["model_in_service"]
    rows = store.table("model_in_service").to_pylist()
    assert rows[1]["images"] == 40 and rows[1]["value"] < rows[1]["value_in_service"] and "NMI" in rows[1]["why"]


def worse(monkeypatch):
    """Make any candidate look worse than what is in service."""
    from fusc_pipeline.service.comparison import Comparison

    found = Comparison("nmi", 0.3, 0.6, 40, 8, 0, np.full(100, -0.3))
    monkeypatch.setattr("fusc_pipeline.defs.service.promoting.compare_models", lambda *_: found)


def test_clusters_keep_their_numbers_when_the_model_calls_them_otherwise(store):
    """The same fit with its clusters renumbered is the hardest a renewal can do to a number."""
    before = served(store).bundle()
    images = before.table(["image_id", "cluster"]).to_pylist()
    assign(store)
    yesterday = {r["image_id"]: r["cluster"] for r in store.table("batch_assignments", "b1").to_pylist()}
    renumber(store, [2, 3, 0, 1])
    renew(store, promote="always")
    model = served(store)
    assert model.number == 2
    filled = {r["cluster"] for r in images}
    assert all(model.identities[[2, 3, 0, 1][cluster]] == cluster for cluster in filled)
    assert len(set(model.identities)) == 4
    assert assign(store) == {"batch_assignments": "miss"}
    rows = store.table("batch_assignments", "b1").to_pylist()
    assert {r["image_id"]: r["cluster"] for r in rows} == yesterday
    assert {r["model_version"] for r in rows} == {2}


def renumber(store: Store, order: list[int]) -> None:
    """Publish fusc_simclr again with cluster c called order[c], in its table and its weights."""
    import json

    import pyarrow as pa
    from safetensors.torch import load_file, save_file

    record, folder = store.require("fusc_simclr"), store.folder("fusc_simclr")
    from fusc_pipeline.store.store import Recipe

    table = store.table("fusc_simclr")
    place = table.column_names.index("cluster")
    named = pa.array([order[c] for c in table.column("cluster").to_pylist()], pa.int32())
    with store.write("fusc_simclr", None, Recipe("renumbered", record.config), record.inputs) as draft:
        draft.write_table(table.set_column(place, table.schema.field("cluster"), named))
        for path in folder.glob("*.safetensors"):
            weights = load_file(path)
            for name in ("weight", "bias"):
                new = weights[name].clone()
                new[:, order] = weights[name]
                weights[name] = new
            save_file(weights, draft.path(path.name))
        draft.path("history.json").write_text(json.dumps(json.loads((folder / "history.json").read_text())))


def test_both_models_are_scored_on_images_that_neither_trained_on(store, phantom_frames, monkeypatch):
    fill_store(store, phantom_frames[28:], batch="b2")
    seen = []

    def compare(*given):
        seen.append(compared.compare_models(*given))
        return seen[-1]

    monkeypatch.setattr("fusc_pipeline.defs.service.promoting.compare_models", compare)
    renew(store, up_to("model_in_service"))
    (found,) = seen
    before = Bundle.open(models_folder(store, 1)).table().to_pylist()
    trained_on = {row["subject_key"] for row in before if row["split"] == "train"}
    corpus = store.table("corpus").to_pylist()
    test = [row for row in corpus if row["split"] == "test"]
    fair = [row for row in test if row["subject_key"] not in trained_on]
    assert (found.n, found.left_out) == (len(fair), len(test) - len(fair))
    assert found.subjects == len({row["subject_key"] for row in fair})


def test_a_batch_is_assigned_without_training_and_a_grown_one_computes_its_new_frames(store, phantom_frames):
    store.record("corpus")
    fill_store(store, phantom_frames[28:32], batch="b2", quarantine=1)
    assert assign(store, "b2") == {"batch_assignments": "miss"}
    record, rows = store.require("batch_assignments", "b2"), store.table("batch_assignments", "b2").to_pylist()
    assert len(rows) == 3 and record.metadata["images_assigned_now"] == 3
    bundle = served(store).bundle()
    train = {r["image_id"] for r in bundle.table().to_pylist() if r["split"] == "train"}
    for row in rows:
        assert row["cluster"] in served(store).identities and 0.25 <= row["confidence"] <= 1
        assert len(row["neighbor_ids"]) == 10 and train.issuperset(row["neighbor_ids"])
        assert row["similarities"] == sorted(row["similarities"], reverse=True)
        assert 0 <= row["ood_score"] <= 1 and row["model_version"] == 1
    drift = record.metadata["drift"]
    assert (drift["frames"], drift["new"]) == (3, 3) and 0 < drift["growth"] < 0.2
    fill_store(store, phantom_frames[28:], batch="b2", quarantine=1)
    assign(store, "b2")
    grown = store.require("batch_assignments", "b2").metadata
    assert (grown["images_assigned_now"], grown["images_kept"]) == (4, 3)
    again = {row["image_id"]: row for row in store.table("batch_assignments", "b2").to_pylist()}
    assert all(again[row["image_id"]] == row for row in rows)
    # A kept-out candidate changes the history, not the batches.
    renew(store, seed=1, promote="never")
    assert assign(store, "b2") == {"batch_assignments": "hit"}


def test_without_a_model_the_words_say_what_to_run(small_store):
    assert "no model is in service yet: train one" in failures(assigning(small_store))["batch_assignments"]


def damage(store: Store, number: int = 1) -> None:
    """Spoil the weights of a model's fit."""
    weights = next(models_folder(store, number).glob("parts/fusc_simclr/*.safetensors"))
    weights.unlink()  # the candidate's own file is another name of the same bytes
    weights.write_bytes(b"no weights")


def lose_candidate(store: Store) -> None:
    """Let no version of the candidate be there any more."""
    shutil.rmtree(store.root / "assets" / "candidate_model")


def stale(store: Store) -> str:
    """Why a run would make `model_in_service` again."""
    build_definitions(root=str(store.root))
    plan, record = plan_asset("model_in_service", store), store.require("model_in_service")
    assert plan.fingerprint != record.fingerprint
    return "; ".join(reasons(record, plan))


def test_a_damaged_model_is_put_back_by_whoever_meets_it_first(store):
    damage(store)
    assert assign(store) == {"batch_assignments": "miss"}
    served(store).bundle().check()
    next(models_folder(store, 1).glob("parts/fusc_simclr/*.safetensors")).unlink()
    assert "the files of the model in service (some are gone) changed" in stale(store)
    assert renew(store)["model_in_service"] == "miss" and history(store) == [("promoted", 1, 1)]
    served(store).bundle().check()


def test_with_a_model_that_cannot_be_put_back_nothing_is_assigned(store):
    damage(store)
    lose_candidate(store)
    told = failures(assigning(store))["batch_assignments"]
    assert "model 1: parts/fusc_simclr" in told and "missing or damaged" in told
    # Nor is anything decided: no other model is whole, and no candidate is there to be one.
    told = failures(materialise(store, 'key:"model_in_service"', settings()))["model_in_service"]
    assert "candidate_model has not been made" in told
    # A renewal makes the candidate again, and that puts the model back.
    renew(store)
    assert history(store) == [("promoted", 1, 1)] and assign(store) == {"batch_assignments": "miss"}


def test_a_damaged_model_that_cannot_be_put_back_gives_way_to_the_one_before(store):
    renew(store, seed=1, promote="always")
    assert history(store)[-1] == ("promoted", 2, 2)
    lost = next(models_folder(store, 2).glob("parts/fusc_simclr/*.safetensors"))
    lost.unlink()
    lose_candidate(store)
    assert stale(store) == "which model a person or a rule put in service changed"
    assert renew(store, 'key:"model_in_service"') == {"model_in_service": "miss"}
    assert history(store)[-1] == ("rolled_back", 1, 1)
    why = store.table("model_in_service").to_pylist()[-1]["why"]
    assert why.startswith("model 2: parts/fusc_simclr/") and why.endswith("the last whole one before it")
    assert str(store.root) not in why
    assert assign(store) == {"batch_assignments": "miss"}


def test_a_new_candidate_comes_in_place_of_a_damaged_model_when_none_before_is_whole(store):
    damage(store)
    lose_candidate(store)
    refused = failures(materialise(store, DECISION, settings(1, promote="never")))["model_in_service"]
    assert "model 1: parts/" in refused  # a person decides
    renew(store, seed=1)
    assert history(store)[-1] == ("promoted", 2, 2)
    assert "no model before it is whole" in store.table("model_in_service").to_pylist()[-1]["why"]


@pytest.mark.parametrize("harm", ["record", "pointer"])
def test_a_history_whose_record_or_pointer_was_lost_is_read_all_the_same(store, harm):
    renew(store, seed=1, promote="always")
    before = history_rows(store)
    for folder in (store.root / "assets" / "model_in_service" / "_").glob("[!.]*/"):
        if harm == "record":
            (folder / "_fingerprint.json").write_text("")
    if harm == "pointer":
        (store.root / "assets" / "model_in_service" / "_" / "current").unlink()
    assert history_rows(store) == before
    renew(store, seed=1, promote="always")
    assert history_rows(store) == before and served(store).number == 2


@pytest.mark.parametrize("older", [False, True], ids=["the only version", "an older one is there"])
def test_a_history_that_was_lost_goes_on_from_the_last_whole_version(store, older):
    if older:
        renew(store, seed=1, promote="always")
        assert history(store)[-1] == ("promoted", 2, 2)
    table = store.folder("model_in_service") / "table.parquet"
    table.write_bytes(bytes(table.stat().st_size))
    assert [row["number"] for row in history_rows(store)] == ([1] if older else [])
    assert renew(store, seed=int(older), promote="always")["model_in_service"] == "miss"
    assert history(store) == ([("promoted", 1, 1), ("promoted", 2, 2)] if older else [("promoted", 1, 1)])
    assert sorted(path.name for path in (store.root / "models").iterdir()) == (["1", "2"] if older else ["1"])
    assert assign(store) == {"batch_assignments": "miss"}


def test_what_is_said_of_an_image_does_not_depend_on_which_others_are_asked_about(store, tmp_path):
    """A killed run is continued with fewer images: to the last digit the table is that of one run."""
    from fusc_pipeline.base.compute import Compute
    from fusc_pipeline.defs.service.batch_assignments import _rows

    images = store.table("corpus", columns=["image_id", "scan_batch"])
    model, compute = served(store), Compute.detect("cpu", 1)

    def rows(some) -> dict:
        return dict(_rows(store, model.bundle(), model, compute, some, 5, tmp_path))

    whole = rows(images)
    assert len(whole) == images.num_rows
    for start, length in ((0, 1), (3, 2), (5, 19), (27, 1)):
        cut = rows(images.slice(start, length))
        assert cut == {image: whole[image] for image in cut} and len(cut) == length


def test_a_kill_between_copying_a_model_and_publishing_leaves_the_old_state(store, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    before = store.require("model_in_service")
    monkeypatch.setattr("fusc_pipeline.defs.service.promoting.compare_models", killed)
    assert "stopped by a signal" in failures(materialise(store, DECISION, settings(1)))["model_in_service"]
    assert store.require("model_in_service") == before and models_folder(store, 2).is_dir()
    monkeypatch.undo()
    renew(store, seed=1, promote="always")
    assert history(store) == [("promoted", 1, 1), ("promoted", 2, 2)]


def test_subjects_that_an_earlier_encoder_saw_are_known(store):
    """A warm-started encoder has seen the training subjects of the model it started from."""
    started = SimpleNamespace(metadata={"started_from_model": 1})
    files = SimpleNamespace(root=store.root, require=lambda _: started)
    rows = served(store).bundle().table().to_pylist()
    assert _seen_before(None, files, "simclr") == {r["subject_key"] for r in rows if r["split"] == "train"}
    started.metadata = {}
    assert _seen_before(None, files, "simclr") == set()


CACHED = """
import sys
from fusc_pipeline.cli.reasons import reasons
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.store.store import Store
from pathlib import Path
from fusc_pipeline_tests.defs.graph import up_to
from fusc_pipeline_tests.defs.service.test_service import assign, renew
store = Store(Path(sys.argv[1]))
states = {**renew(store, up_to("model_in_service")), **assign(store)}
heavy = [name for name in ("torch", "cv2", "faiss", "sklearn", "timm", "scipy") if name in sys.modules]
print(set(states.values()), heavy)
"""


def test_nothing_new_loads_nothing_heavy(store):
    assign(store)
    ran = subprocess.run([sys.executable, "-c", CACHED, str(store.root)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip().splitlines()[-1] == "{'hit'} []"


def test_the_served_model_is_named_by_the_environment(monkeypatch):
    from fusc_pipeline.defs.service.served import SERVABLE, served_row

    assert served_row().name == "fusc_simclr"
    monkeypatch.setenv("FUSC_SERVED_MODEL", "kmeans_dino")
    assert served_row() is SERVABLE["kmeans_dino"]
    monkeypatch.setenv("FUSC_SERVED_MODEL", "fusc_simcl")
    with pytest.raises(BadSetting, match="did you mean 'fusc_simclr'"):
        served_row()
    monkeypatch.setenv("FUSC_SERVED_MODEL", "supervised")
    with pytest.raises(BadSetting, match="cannot be put in service"):
        served_row()


def test_a_wrong_model_to_serve_stops_the_candidate_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSC_SERVED_MODEL", "fusc_simcl")
    definitions = build_definitions(root=str(tmp_path))
    assert len(list(definitions.resolve_asset_graph().materializable_asset_keys)) == 30
    with pytest.raises(BadSetting, match="did you mean 'fusc_simclr'"):
        plan_asset("candidate_model", Store(tmp_path))
    monkeypatch.delenv("FUSC_SERVED_MODEL")
    build_definitions(root=str(tmp_path))


def test_verbs_promote_and_roll_back_and_the_run_history_knows(store, tmp_path, monkeypatch, capsys):
    from fusc_pipeline.cli.main import main

    monkeypatch.setenv("FUSC_DATA", str(store.root))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert main(["rollback"]) == 1
    assert "model 1 was the first in service; there is none before it" in capsys.readouterr().err
    renew(store, seed=1, promote="always")
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "* model 2: fusc_simclr, K 4, seed 1" in shown and "  model 1: fusc_simclr, K 4, seed 0" in shown
    assert "promoted: the first model" in shown
    assert main(["rollback"]) == 0
    assert "model 1 is in service" in capsys.readouterr().out and served(store).number == 1
    assert main(["promote", "1"]) == 0 and "model 1 is in service already" in capsys.readouterr().out
    assert main(["promote", "2"]) == 0 and served(store).number == 2
    assert main(["promote", "7"]) == 1 and "there is no model 7; known: 1, 2" in capsys.readouterr().err
    with dg.DagsterInstance.get() as instance:
        assert len(instance.get_runs()) == 2
