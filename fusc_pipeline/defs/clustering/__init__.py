"""The rows of the paper's tables, an asset each, and the registry of them.

Methods are `clustering`'s part; scores are in `defs.evaluation`.
"""
