"""The Dagster layer, and thin: assets, checks, partitions, jobs. No maths and no image processing lives here."""
