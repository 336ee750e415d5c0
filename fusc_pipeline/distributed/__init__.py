"""Training over several processes: ranks that share a batch, and what torchrun starts. No dagster but its pipes."""
