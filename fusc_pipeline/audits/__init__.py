"""What can be wrong with cleaned frames and with labels: what is measured, drawn and asked for it.

Reading frames from a store is the assets' part.
"""
