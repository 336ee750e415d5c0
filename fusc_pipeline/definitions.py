"""The code location: what `-m fusc_pipeline.definitions`, workspace.yaml and [tool.dagster] all name."""

from fusc_pipeline.build import build_definitions

defs = build_definitions()
