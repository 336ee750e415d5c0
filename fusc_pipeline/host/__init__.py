"""This machine: folders, atomic writes, locks, processes, leases on devices, worker processes.

What is written or computed is another room's business.
"""
