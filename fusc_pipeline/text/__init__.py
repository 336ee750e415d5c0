"""Burnt-in text: detect, read, match to a view, remove. Works on arrays; no dagster, no files of scans."""
