"""What `fusc run` makes for an external batch, and the mark that makes it one."""

import re

import dagster as dg
import pytest

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.cli import runner
from fusc_pipeline.cli.main import main
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.work import per_batch_assets
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.operations.presets import apply_setting, load_preset, preset_names
from fusc_pipeline.store.store import Recipe, Store
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import materialise


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "planes").mkdir()
    (tmp_path / "planes" / "x.png").write_bytes(b"x")
    return tmp_path


def steps(batch: str, known=("planes",)) -> list:
    graph = build_definitions().resolve_asset_graph()
    keys = set(graph.materializable_asset_keys)
    found = runner._external_steps(batch, keys, runner._steps(batch, keys, known, graph))
    return [(partition, {key.to_user_string() for key in chosen}) for partition, chosen in found]


def published(store: Store, *assets: str) -> None:
    for asset in assets:
        with store.write(asset, None, Recipe("test"), {}):
            pass


def test_an_external_batch_trains_nothing(root, capsys):
    assert steps("planes") == [("planes", per_batch_assets() - {"batch_assignments"})]
    assert "is external and waits: no model was trained yet" in capsys.readouterr().out
    store = Store(root / "data")
    published(store, "corpus")
    assert steps("planes")[1:] == [(None, {"external_purity"})]
    published(store, "model_in_service")
    assert steps("planes")[0] == ("planes", set(per_batch_assets()))
    published(store, "cluster_report")
    assert steps("planes")[1:] == [(None, {"external_purity", "cluster_report"})]
    with pytest.raises(BadInput, match="there is no batch 'other'"):
        steps("other")


def test_all_batches_are_assigned_once_the_model_stands():
    graph = build_definitions().resolve_asset_graph()
    keys = set(graph.materializable_asset_keys)
    steps = runner._steps(None, keys, ["a", "b"], graph)
    found = [(partition, {key.to_user_string() for key in chosen}) for partition, chosen in steps]
    own = per_batch_assets() - {"batch_assignments"}
    assert found[:2] == [("a", own), ("b", own)]
    assert found[2][0] is None and "model_in_service" in found[2][1] and not found[2][1] & per_batch_assets()
    assert found[3:5] == [("a", {"batch_assignments"}), ("b", {"batch_assignments"})]
    assert set().union(*(chosen for _, chosen in found)) == {key.to_user_string() for key in keys}
    assert [p for p, _ in runner._steps("a", keys, ["a", "b"], graph)] == ["a"]


def test_the_mark_stays_until_it_is_taken_back(root, capsys):
    folder, inbox = str(root / "planes"), Inbox(root / "data")
    assert main(["add-batch", folder, "--key", "planes"]) == 0
    assert not inbox.is_external("planes")
    assert main(["add-batch", folder, "--key", "planes", "--external"]) == 0
    assert "external: no model is trained on it" in capsys.readouterr().out
    assert main(["add-batch", folder, "--key", "planes", "--layout", "plain"]) == 0
    assert inbox.is_external("planes") and inbox.layout("planes") == ("plain", [])
    assert main(["add-batch", folder, "--key", "planes", "--no-external"]) == 0
    assert not inbox.is_external("planes") and inbox.layout("planes") == ("plain", [])


def test_a_check_is_told_once_with_what_follows_from_it(small_store, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("fusc_pipeline.evaluation.splitting.split_by_subject", lambda *_given: ["train", "test"] * 18)
        assert not runner._tell(materialise(small_store, 'key:"corpus" or key:"simclr_encoder"'), 1.0)
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if "subjects_in_one_split" in line]
    assert "ERROR, nothing is built on it:" in told and "subjects are in both splits" in told
    assert not any("blocking asset check" in line for line in lines) and lines[-1] == "-- FAILED in 1.0 s"


def test_warnings_are_counted_and_fail_nothing(tmp_path, phantom_frames, capsys):
    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames, labels=False)
    assert runner._tell(materialise(store, "corpus"), 1.0)
    assert capsys.readouterr().out.splitlines()[-1] == "-- done in 1.0 s, 1 warning (above)"


@pytest.fixture(scope="module")
def graph():
    return build_definitions().resolve_asset_graph()


TWO = {"scans", "rejected_scans"}
TEXT = {"burned_in_text", "pseudo_labels", "clean_images"}


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        ("scans,rejected_scans", TWO),
        (" rejected_scans ,  scans ", TWO),
        ('key:"scans" or key:"rejected_scans"', TWO),
        ('key:"scans",key:"rejected_scans"', TWO),
        ("key:scans", {"scans"}),
        ("+rejected_scans", TWO),
        ("+rejected_scans,pseudo_labels", TWO | {"pseudo_labels"}),
        ("group:text,scans", TEXT | {"scans"}),
        ('group:"text" and not key:"clean_images"', TEXT - {"clean_images"}),
        ("rejected_scans*,*rejected_scans", TWO | {"cluster_report"}),
    ],
)
def test_assets_are_selected_as_by_dagsters_own_command(graph, selection, meant):
    assert {key.to_user_string() for key in runner._selected(selection, graph, [])} == meant
    own = dg.AssetSelection.from_coercible([part.strip() for part in selection.split(",")])  # as dagster._cli.asset
    assert {key.to_user_string() for key in own.resolve(graph)} == meant


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        ("scans rejected_scans", "'scans rejected_scans' is no asset selection"),
        ("scans,", "'' is no asset selection"),
        (",", "'' is no asset selection"),
        ("scans,+", "'+' is no asset selection"),
        ("group:txt", "'group:txt' selects no asset"),
        ("scans,tag:x", "'tag:x' selects no asset"),
        ("scan", "unknown key 'scan'; did you mean 'scans'"),
        ("scans,rejected", "unknown key 'rejected'; did you mean 'rejected_scans'"),
    ],
)
def test_a_selection_is_refused_by_the_part_that_is_wrong(graph, selection, why):
    with pytest.raises(BadSetting) as refused:
        runner._selected(selection, graph, [])
    assert str(refused.value).startswith(f"--select {selection!r}") and why in str(refused.value)


def test_the_examples_that_a_refusal_gives_work(graph):
    with pytest.raises(BadSetting) as refused:
        runner._selected("a b", graph, [])
    examples = re.findall(r"--select '([^']+)'", str(refused.value).partition("examples:")[2])
    assert len(examples) == 3
    for example in examples:
        assert runner._selected(example, graph, [])


def test_what_a_preset_leaves_out_must_be_known(graph):
    with pytest.raises(BadSetting, match="leave_out of the preset has an unknown key 'deepmca'; did you mean 'deepmc"):
        runner._selected("*", graph, ["deepmca"])


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("simclr_encoder.epochs=-1", "simclr_encoder.epochs is -1: Input should be greater than or equal to 1"),
        ("simclr_encoder.epochs=many", "simclr_encoder.epochs is 'many': Input should be a valid integer"),
        ("simclr_encoder.epochs=", "simclr_encoder.epochs is None"),
        ("simclr_encoder.epochs.x=3", "simclr_encoder.epochs is {'x': 3}"),
        ("fusc_simclr.n_clusters=[15, a]", "fusc_simclr.n_clusters.1 is 'a'"),
    ],
)
def test_a_setting_of_a_wrong_kind_is_refused_before_anything_is_made(setting, why):
    config: dict = {}
    apply_setting(config, setting)
    with pytest.raises(BadSetting) as refused:
        runner.check_config(config, build_definitions())
    assert why in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", preset_names())
def test_every_presets_values_are_in_their_ranges(name):
    runner.check_config(load_preset(name), build_definitions())


def test_what_dagster_refuses_besides_is_a_sentence(root, capsys):
    assert main(["add-batch", str(root / "planes"), "--key", "b"]) == 0
    # pydantic would take the word for the number; Dagster does not
    assert main(["run", "--batch", "b", "--select", "scans", "--set", "scans.workers='1'"]) == 1
    said = capsys.readouterr().err
    assert "fusc: the settings are refused: " in said and "workers" in said and "Traceback" not in said
