"""The model in service: candidate, comparison, promotion, assignments of new batches, and their checks.

Rules without Dagster are `service`'s part.
"""
