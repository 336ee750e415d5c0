"""Presets: known ones load and fit the assets, unknown names and keys are refused with the nearest known one."""

import dagster as dg
import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.cli.runner import config_fields
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.operations.presets import apply_setting, check_run_config, left_out, load_preset, preset_names


@pytest.fixture(scope="module")
def definitions():
    return build_definitions()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_valid_run_config_and_a_job(definitions, name):
    check_run_config(load_preset(name), config_fields(definitions))
    dg.validate_run_config(definitions.resolve_job_def(name), load_preset(name))


def test_a_file_of_ones_own_is_a_preset(tmp_path, definitions):
    path = tmp_path / "mine.yaml"
    path.write_text("# for us\nops: {simclr_encoder: {config: {encoder: {name: resnet50}}}}\nleave_out: [deepmcat]\n")
    assert left_out(str(path)) == ["deepmcat"]
    check_run_config(load_preset(str(path)), config_fields(definitions))
    path.write_text("opps: {}")
    with pytest.raises(BadSetting, match="unknown key 'opps'; did you mean 'ops'"):
        load_preset(str(path))
    path.write_text("ops: [")
    with pytest.raises(BadSetting, match="is no YAML"):
        load_preset(str(path))
    with pytest.raises(BadSetting, match=r"gone\.yaml cannot be read"):
        load_preset(str(tmp_path / "gone.yaml"))


def test_unknown_preset_names_the_nearest():
    with pytest.raises(BadSetting, match="there is no preset 'dmo'; did you mean 'demo'"):
        load_preset("dmo")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"ops": {"simclr_encodr": {}}}, "ops has an unknown key 'simclr_encodr'; did you mean 'simclr_encoder'"),
        (
            {"ops": {"simclr_encoder": {"config": {"epocs": 3}}}},
            r"ops.simclr_encoder.config has an unknown key 'epocs'; did you mean 'epochs'",
        ),
        (
            {"ops": {"dino_encoder": {"config": {"encoder": {"wieghts": "x"}}}}},
            r"ops.dino_encoder.config.encoder has an unknown key 'wieghts'; did you mean 'weights'",
        ),
        ({"ops": {"dino_encoder": {"config": {"encoder": "resnet18"}}}}, "config.encoder must be a mapping"),
        ({"op": {}}, "run config has an unknown key 'op'; did you mean 'ops'"),
        ({"ops": {"simclr_encoder": {"config": [1]}}}, "must be a mapping"),
    ],
)
def test_unknown_keys_name_the_nearest(definitions, config, message):
    with pytest.raises(BadSetting, match=message):
        check_run_config(config, config_fields(definitions))


def test_dagster_refuses_a_misspelt_key_too(definitions):
    bad = {"ops": {"simclr_encoder": {"config": {"epocs": 3}}}}
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(definitions.resolve_job_def("demo"), bad)


def test_a_setting_out_of_range_is_refused_before_anything_runs(definitions):
    from fusc_pipeline_tests.defs.graph import failures

    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        run_config={"ops": {"simclr_encoder": {"config": {"temperature": -1.0}}}},
        asset_selection=[dg.AssetKey("simclr_encoder")],
        raise_on_error=False,
    )
    assert "temperature" in failures(result)["simclr_encoder"]


def test_set_puts_a_yaml_value_in_place():
    config: dict = {}
    apply_setting(config, "fusc_simclr.n_clusters=[4, 15]")
    apply_setting(config, "fusc_simclr.epochs=3")
    apply_setting(config, "dino_encoder.encoder.name=resnet18")
    assert config == {
        "ops": {
            "fusc_simclr": {"config": {"n_clusters": [4, 15], "epochs": 3}},
            "dino_encoder": {"config": {"encoder": {"name": "resnet18"}}},
        }
    }
    for bad in ("fusc_simclr.epochs", "epochs=3", "=3", ".=3"):
        with pytest.raises(BadSetting, match=r"asset\.field=value"):
            apply_setting(config, bad)


def test_a_preset_may_leave_assets_out(definitions):
    known = {key.to_user_string() for key in definitions.resolve_asset_graph().materializable_asset_keys}
    for name in preset_names():
        assert set(left_out(name)) <= known and "leave_out" not in load_preset(name)
    assert "dino_encoder" in left_out("demo") and left_out("tables") == []
    keys = definitions.resolve_job_def("demo").asset_layer.executable_asset_keys
    assert {key.to_user_string() for key in keys} == known - set(left_out("demo"))


@pytest.mark.parametrize("value", ["[", "{a", "'x", "a: b: c"])
def test_a_setting_whose_value_is_no_yaml_is_refused(value):
    with pytest.raises(BadSetting, match="the value is no YAML; put it in quotes"):
        apply_setting({}, f"scans.workers={value}")


@pytest.mark.parametrize("value", ["5", "deepmcat", "[1]", "{a: b}"])
def test_what_is_left_out_is_a_list_of_names(tmp_path, value):
    path = tmp_path / "mine.yaml"
    path.write_text(f"leave_out: {value}")
    with pytest.raises(BadSetting, match="must be a list of assets"):
        load_preset(str(path))


def test_a_file_of_ones_own_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("ops: {}")
    assert load_preset("~/mine.yaml") == {"ops": {}}
    with pytest.raises(BadSetting, match=r"gone\.yaml cannot be read \(No such file or directory\)"):
        load_preset("~/gone.yaml")
    with pytest.raises(BadSetting, match=r"a file of your own ends in \.yaml"):
        load_preset("mine.json")
