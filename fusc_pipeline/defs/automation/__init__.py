"""What starts by itself: jobs, sensors, the schedule, and how runs are executed.

No asset.
"""
