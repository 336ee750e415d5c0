"""Asset configs made from the domain packages' dataclasses: one place says what a setting means and its range."""

import dataclasses
from typing import Any, TypeVar

from pydantic import Field, create_model

from fusc_pipeline.defs.engine.materialize import AssetConfig

T = TypeVar("T")


def asset_config(
    name: str, source: type, *, base: type[AssetConfig] = AssetConfig, without: tuple[str, ...] = (), **defaults: Any
) -> type[AssetConfig]:
    """A dg.Config with the fields of the dataclass `source` (declared by `fusc_pipeline.base.settings.setting`).

    without: fields the asset decides itself; defaults: values in place of the dataclass's own.
    """
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(source):
        if field.name in without:
            continue
        rule = field.metadata
        limits = {"ge": rule.get("low"), "le": rule.get("high")}
        choices = f" One of {', '.join(rule['choices'])}." if rule.get("choices") else ""
        fields[field.name] = (
            field.type,
            Field(
                default=defaults.pop(field.name, field.default),
                description=rule["meaning"] + choices,
                **{key: value for key, value in limits.items() if value is not None},
            ),
        )
    if defaults:
        raise TypeError(f"{name}: {source.__name__} has no field {', '.join(defaults)}")
    return create_model(name, __base__=base, __doc__=source.__doc__, **fields)


def settings_of(config: AssetConfig, target: type[T], **decided: Any) -> T:
    """The dataclass `target` filled from an asset's config, with the fields the asset decides itself."""
    names = {field.name for field in dataclasses.fields(target)}
    return target(**{n: getattr(config, n) for n in names if n not in decided and hasattr(config, n)}, **decided)
