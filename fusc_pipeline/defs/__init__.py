"""The pipeline as Dagster knows it: an asset, its checks and its settings stand in the folder of their group.

Maths, file formats and pictures do not.
"""
