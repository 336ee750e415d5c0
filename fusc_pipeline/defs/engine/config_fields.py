"""What every asset's config has. What is special to one stands beside it; what trains it is inherited from its method's
settings, so that one place says what a setting means and its range.
"""

from typing import Any, ClassVar

import dagster as dg
from pydantic import Field

from fusc_pipeline.base.settings import extra_of


class AssetConfig(dg.Config):
    """What every asset's config has. Fields marked runtime change how the work is done, not what comes out."""

    refused_as_setting: ClassVar[bool] = False

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
    rules = {n: extra_of(fields[n]) for n in fields}
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
