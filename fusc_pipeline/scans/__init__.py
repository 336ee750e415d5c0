"""Reading scans: DICOM and raster files, keyed identities, the ultrasound region and the fan. No dagster, no text."""
