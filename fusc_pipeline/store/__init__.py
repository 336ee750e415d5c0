"""What was made: versions of outputs with their records, published whole, and what checks said of them.

What an output means is its asset's business; no Dagster.
"""
