"""Settings: what is outside its range is refused by name; ranges are readable from outside."""

import math

import pytest
from pydantic import ValidationError

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.settings import Settings, default_of, setting, settings_of
from fusc_pipeline.clustering.configs import DeepClusterConfig, FuscConfig, SelfLabelConfig
from fusc_pipeline.defs.representation.encoder_configs import SimclrEncoderConfig
from fusc_pipeline.representation.augment import Augmentation
from fusc_pipeline.representation.configs import DinoConfig, SimclrConfig, SupervisedConfig

CONFIGS = [FuscConfig, SelfLabelConfig, DeepClusterConfig, SimclrConfig, DinoConfig, SupervisedConfig, Augmentation]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_has_a_meaning_and_refuses_what_is_outside_its_range(config):
    config()
    ranged = 0
    for name, field in config.model_fields.items():
        assert field.description
        low, high = (next((getattr(r, s) for r in field.metadata if hasattr(r, s)), None) for s in ("ge", "le"))
        choices = (field.json_schema_extra or {}).get("choices", [])
        outside = [] if low is None else [low - 1, math.nan]
        outside += [] if high is None else [high + 1]
        outside += ["no such choice"] if choices else []
        for value in outside:
            with pytest.raises(BadSetting, match=f"{config.__name__}.{name} is "):
                config(**{name: value})
        for value in (low, high, *choices):
            if value is not None:
                assert getattr(config(**{name: value}), name) == value
        ranged += bool(outside)
    assert ranged >= 5


class Small(Settings):
    epochs: int = setting(3, "passes", 1, 9)
    kind: str = setting("a", "which.", choices=("a", "b"))


def test_a_refusal_names_class_field_value_and_range():
    with pytest.raises(BadSetting, match=r"Small.epochs is 10; it must be from 1 to 9 \(passes\)"):
        Small(epochs=10)
    with pytest.raises(BadSetting, match="Small.kind is 'c'; choose one of a, b"):
        Small(kind="c")
    with pytest.raises(BadSetting, match="Small has no setting epoch; it has epochs, kind"):
        Small(epoch=1)
    with pytest.raises(BadSetting, match="Small.epochs is 'many'"):
        Small(epochs="many")


def test_a_changed_copy_is_checked_as_well():
    assert Small().changed(epochs=5) == Small(epochs=5)
    with pytest.raises(BadSetting, match="Small.epochs is 0"):
        Small().changed(epochs=0)
    with pytest.raises(ValidationError, match="frozen"):
        Small().epochs = 4


def test_another_default_keeps_meaning_and_range():
    class Larger(Small):
        epochs: int = default_of(Small, "epochs", 8)

    assert Larger().epochs == 8 and Small().epochs == 3 and Larger.model_fields["epochs"].description == "passes"
    with pytest.raises(BadSetting, match="Larger.epochs is 10"):
        Larger(epochs=10)


def test_an_assets_config_gives_the_settings_of_its_method_and_refuses_in_pydantics_words():
    config = SimclrEncoderConfig(epochs=7)
    found = settings_of(config, SimclrConfig, backbone="resnet18", weights="")
    assert (found.epochs, found.batch_size, found.optimizer) == (7, config.batch_size, "adamw")
    with pytest.raises(ValidationError, match="less than or equal to 5000"):
        SimclrEncoderConfig(epochs=5001)
    with pytest.raises(ValidationError, match="choose one of sgd, adamw"):
        SimclrEncoderConfig(optimizer="adam")
