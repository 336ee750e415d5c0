"""Images to vectors: pixel cache, augmentation, backbones, SimCLR, the supervised upper line. No dagster."""
