"""Encoders, embeddings, neighbours, and their checks.

Networks, losses and trainings are `representation`'s part.
"""
