"""Tables, audits, the report, and their checks.

Figures, pictures and the page are made in `evaluation`, `pictures`, `audits` and `report`.
"""
