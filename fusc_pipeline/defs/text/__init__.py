"""Words on frames: `burned_in_text`, `pseudo_labels`, `clean_images` and the checks of what is made per batch.

Reading and removing are `text`'s part.
"""
