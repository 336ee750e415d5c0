"""Further verbs of `fusc`, a file for each kind of work, each with `add(verbs)`; imports are made when one is called."""
