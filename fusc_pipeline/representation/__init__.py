"""Images to vectors: pixel cache, augmentation, backbones, SimCLR, DINO, the supervised upper line, neighbours.

How a network is trained is `training`'s part, clusters are `clustering`'s; no Dagster.
"""
