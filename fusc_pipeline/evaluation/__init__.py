"""Honest figures of clusters: metrics, intervals, tables over models and seeds, the train/test division.

Pure functions of arrays and tables. Pictures of them are in `pictures`, audits in `audits`, the page in `report`.
"""
