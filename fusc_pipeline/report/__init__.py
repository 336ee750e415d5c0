"""The page a sonographer opens first: its sections, warnings and words, made of tables and of bytes of pictures.

No figure is computed here, and no picture is drawn.
"""
