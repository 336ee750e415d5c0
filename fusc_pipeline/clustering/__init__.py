"""Vectors to clusters: k-means, the FUSC head, self-labelling, DeepMCAT's clusters, and their losses.

Works on arrays. Encoders and neighbours are in `representation`, scores in `evaluation`; no files, no Dagster.
"""
