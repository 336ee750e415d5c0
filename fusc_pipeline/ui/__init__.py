"""The UI as `fusc ui` serves it: Dagster's own webserver behind a guard, and the processes it needs."""
