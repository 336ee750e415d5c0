"""How any network is trained: the loop, its checkpoints, and training by several processes.

Losses and networks live with their method, in representation and clustering.
"""
