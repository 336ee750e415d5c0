"""What runs: deliveries that arrive, the run history, tries, presets, and what killed runs leave.

It starts nothing itself: sensors (`defs.automation`) and the command line do.
"""
