"""The model in service, as a library: bundles, stable cluster identities, outliers, drift, promotion."""
