"""The UI as `fusc ui` serves it: Dagster's own webserver behind a guard, and the processes it needs.

What the UI shows of assets and runs is made in `defs`; nothing is materialised from here.
"""
