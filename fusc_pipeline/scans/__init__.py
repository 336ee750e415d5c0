"""Reading scans: DICOM, raster files, archives and data sets; keyed identities; the ultrasound region and the fan.

Words on frames are `text`'s part, where frames are kept is `store`'s; no Dagster.
"""
