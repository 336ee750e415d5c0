"""Configuration fields that know their range: `setting(...)` declares one, `check_settings` refuses what is outside.

What a configuration means is documented where its dataclass lives.
"""

import dataclasses
from typing import Any

from fusc_pipeline.base.errors import BadSetting


def setting(
    default: Any, meaning: str, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """A dataclass field with its meaning and its inclusive range (or its choices) kept in the field's metadata."""
    return dataclasses.field(
        default=default, metadata={"meaning": meaning, "low": low, "high": high, "choices": choices}
    )


def check_settings(config: Any) -> None:
    """Raise BadSetting for the first field of a dataclass outside its declared range or choices."""
    for field in dataclasses.fields(config):
        value, rule = getattr(config, field.name), field.metadata
        name = f"{type(config).__name__}.{field.name}"
        choices, low, high = rule.get("choices"), rule.get("low"), rule.get("high")
        if choices and value not in choices:
            raise BadSetting(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        if value is None or (low is None and high is None):
            continue
        # NaN fails both comparisons, so it is refused as well.
        if not ((low is None or value >= low) and (high is None or value <= high)):
            raise BadSetting(f"{name} is {value!r}; it must be {_range_text(low, high)} ({rule['meaning']})")


def _range_text(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"from {low} to {high}"
