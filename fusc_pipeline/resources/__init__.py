"""What the assets need from the outside: the artefact store, the Parquet IO manager, the compute device."""
