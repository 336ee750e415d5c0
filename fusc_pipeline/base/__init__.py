"""What every other room may use: errors, settings, table schemas, views, hashing, PNG bytes, words, the device.

Nothing here knows a store, a scan or Dagster.
"""
