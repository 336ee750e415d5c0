"""What every asset's config has, and configs made from the domain packages' dataclasses: one place says what a setting
means and its range.
"""

import dataclasses
from typing import Any, TypeVar

import dagster as dg
from pydantic import Field, create_model

T = TypeVar("T")


class AssetConfig(dg.Config):
    """What every asset's config has. Fields marked runtime change how the work is done, not what comes out."""

    force: bool = Field(
        default=False,
        description="Make it again even when an output with this fingerprint exists.",
        json_schema_extra={"runtime": True},
    )

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the result: what goes into the fingerprint."""
        return _deciding(self)

    def devices(self) -> int:
        """Devices that a GPU op takes at once; 0: every visible one."""
        return 1


def _deciding(config: dg.Config) -> dict[str, Any]:
    fields = type(config).model_fields
    rules = {n: fields[n].json_schema_extra or {} for n in fields}
    kept = {n: getattr(config, n) for n in fields if not rules[n].get("runtime")}
    # A field that came later is left out at its default, so that what was made before it is still fresh.
    kept = {n: value for n, value in kept.items() if not rules[n].get("later") or value != fields[n].default}
    return {n: _deciding(value) if isinstance(value, dg.Config) else value for n, value in kept.items()}


class ParallelConfig(AssetConfig):
    """For assets whose work is spread over processes on this machine."""

    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Worker processes; 0: one per core this process may use.",
        json_schema_extra={"runtime": True},
    )


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
