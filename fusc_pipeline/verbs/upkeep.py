"""`fusc status` and `fusc gc`."""

import argparse


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the parser."""
