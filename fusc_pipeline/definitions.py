"""The code location: what `-m fusc_pipeline.definitions`, workspace.yaml and [tool.dagster] all name."""

import click

from fusc_pipeline.base.errors import FuscError
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.host.places import check_data_root

try:
    check_data_root(write=False, make=True)  # one that is missing is made by the first run
    defs = build_definitions()
except FuscError as refusal:
    # What the `dagster` commands tell in a sentence; of any other exception they show where in their code it passed.
    raise click.ClickException(str(refusal)) from None
