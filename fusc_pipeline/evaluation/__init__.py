"""Honest evaluation of clusters: figures, tables, pictures and the HTML report. Pure functions, no Dagster.

metrics: the figures of one clustering; tables: figures per model, K and seed; composition: Table 4 of the paper;
figures: plots as bytes; gallery: sample pictures per cluster; report: the page a sonographer opens first.
"""
