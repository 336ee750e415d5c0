"""Further verbs of `fusc`, a file for each kind of work, each with `add(verbs)`; a verb imports when it is called."""
