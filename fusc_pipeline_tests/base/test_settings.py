"""Settings: what is outside its range is refused by name; ranges are readable from outside."""

import dataclasses

import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.clustering.configs import FuscConfig, SelfLabelConfig
from fusc_pipeline.representation.augment import Augmentation
from fusc_pipeline.representation.configs import SimclrConfig, SupervisedConfig

CONFIGS = [FuscConfig, SelfLabelConfig, SimclrConfig, SupervisedConfig, Augmentation]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_has_a_meaning_and_refuses_what_is_outside_its_range(config):
    config()
    for field in dataclasses.fields(config):
        rule = field.metadata
        assert rule["meaning"]
        outside = [] if rule["low"] is None else [rule["low"] - 1]
        outside += [] if rule["high"] is None else [rule["high"] + 1]
        outside += ["no such choice"] if rule["choices"] else []
        for value in outside:
            with pytest.raises(BadSetting, match=f"{config.__name__}.{field.name} is "):
                config(**{field.name: value})
        for value in (rule["low"], rule["high"], *rule["choices"]):
            if value is not None:
                config(**{field.name: value})
