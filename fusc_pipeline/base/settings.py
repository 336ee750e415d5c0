"""Settings that know their range: `setting(...)` declares a field of a `Settings`, which refuses what is outside it.

What a setting means is documented where its class lives; the assets' configs take their fields from the same classes.
"""

from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ValidationInfo

from fusc_pipeline.base.errors import BadSetting

T = TypeVar("T", bound="Settings")


class Settings(BaseModel):
    """Values that do not change once they are made.

    Raises BadSetting, which names the class, the field, the value and the range, for the first one out of its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    # An asset's config is refused in pydantic's words, as Dagster and `fusc run` expect them.
    refused_as_setting: ClassVar[bool] = True

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as wrong:
            if not self.refused_as_setting:
                raise
            raise BadSetting(_words(type(self), wrong)) from None

    @field_validator("*")
    @classmethod
    def _one_of_the_choices(cls, value: Any, info: ValidationInfo) -> Any:
        choices = extra_of(cls.model_fields[info.field_name or ""]).get("choices", ())
        if choices and value not in choices:
            raise ValueError(f"choose one of {', '.join(choices)}")
        return value

    def changed(self, **values: Any) -> Self:
        """A copy with some values changed; refused as a new one would be."""
        return type(self)(**{**self.model_dump(), **values})


def setting(
    default: Any, meaning: str, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """A field with its meaning and its inclusive range, or its choices."""
    text = f"{meaning} One of {', '.join(choices)}." if choices else meaning
    extra: dict[str, Any] | None = {"choices": list(choices)} if choices else None
    return Field(default=default, ge=low, le=high, description=text, json_schema_extra=extra)


def default_of(source: type[BaseModel], name: str, default: Any) -> Any:
    """The field `name` of `source` with another default: for a class that inherits from it."""
    field = FieldInfo.merge_field_infos(source.model_fields[name], default=default)
    return field


def settings_of(config: BaseModel, target: type[T], **decided: Any) -> T:
    """The settings `target` filled from an asset's config, with the fields that the asset decides itself."""
    names = [name for name in target.model_fields if name not in decided and name in type(config).model_fields]
    return target(**{name: getattr(config, name) for name in names}, **decided)


def extra_of(field: FieldInfo) -> dict[str, Any]:
    """What a field says of itself beside its range: `choices`, and marks of the assets' configs."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _words(kind: type[BaseModel], wrong: ValidationError) -> str:
    error = wrong.errors()[0]
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden" or name not in kind.model_fields:
        return f"{kind.__name__} has no setting {name}; it has {', '.join(kind.model_fields)}"
    field, given = kind.model_fields[name], f"{kind.__name__}.{name} is {error['input']!r}"
    if choices := extra_of(field).get("choices"):
        return f"{given}; choose one of {', '.join(choices)}"
    low, high = (
        next((getattr(rule, side) for rule in field.metadata if hasattr(rule, side)), None) for side in ("ge", "le")
    )
    if low is None and high is None:
        return f"{given}: {error['msg']}"
    return f"{given}; it must be {_range_text(low, high)} ({field.description})"


def _range_text(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"from {low} to {high}"
