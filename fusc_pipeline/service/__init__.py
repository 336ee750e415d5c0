"""The model in service: its bundle, stable cluster identities, outliers, drift, comparison and promotion.

Rules and files only. When they apply is decided by the assets in `defs.service`.
"""
