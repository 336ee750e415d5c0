"""Jobs: one for each preset, over the whole graph."""

import dagster as dg

from fusc_pipeline.presets import about, left_out, load_preset, preset_names


def preset_jobs() -> list:
    """A job per preset; in the UI, pick a batch and launch."""
    return [
        dg.define_asset_job(
            name=name,
            selection=dg.AssetSelection.all() - dg.AssetSelection.assets(*left_out(name)),
            config=load_preset(name),
            description=f"One scan batch to the report with the settings of the preset `{name}`: {about(name)}",
        )
        for name in preset_names()
    ]
