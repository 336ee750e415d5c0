"""Vectors to clusters: neighbours, k-means, the FUSC head and self-labelling. Works on arrays, not on files."""
