"""The command line `fusc`: each verb, and what it prints.

What a verb does stands in the room that it is about.
"""
