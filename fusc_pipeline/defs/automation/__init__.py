"""What starts by itself, and how runs are executed: jobs, sensors, the schedule, loggers, the executor.

No asset and no check: those are in the folders of their groups.
"""
