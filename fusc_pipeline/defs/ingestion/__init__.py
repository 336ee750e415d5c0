"""From a delivered folder to rows: `scans`, `rejected_scans`.

How a file is read is `scans`' part.
"""
