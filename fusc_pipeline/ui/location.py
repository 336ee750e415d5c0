"""Where Dagster finds the definitions, and by which name the code location goes."""

DEFINITIONS = "fusc_pipeline.definitions"
LOCATION = "fusc_pipeline"
