"""Pictures as bytes, from arrays and tables: plots, galleries, sheets, maps.

No figure is computed here, and nothing is read from a store.
"""
