"""Faults at every step of every publication: a tiny whole graph, run, broken at one file operation, and run again.

`python -m fusc_pipeline_tests.integration.sweep` prints the table of assets and steps; `test_sweep` holds it.
"""
