"""Burnt-in text: detect it, read it, match it to a view, remove it from a frame.

Works on arrays. How a file is decoded is `scans`' part; no Dagster.
"""
