"""The corpus that everything is trained and scored on, and its checks.

How subjects are divided is `evaluation.splitting`'s part.
"""
