"""The code location: what `-m fusc_pipeline.definitions`, workspace.yaml and [tool.dagster] all name."""

from fusc_pipeline.build import build_definitions
from fusc_pipeline.places import check_data_root

# Here, so that `dagster` says it before a run is made; that of a missing root is made by the first run.
check_data_root(write=False, make=True)
defs = build_definitions()
