"""What every asset shares: the decision by fingerprint, failures, devices, progress, checks, tables as arrays.

Nothing of any one asset.
"""
