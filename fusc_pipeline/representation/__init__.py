"""Images to vectors: pixel cache, augmentation, backbones, SimCLR, supervised upper line, the resumable loop. No dagster."""
