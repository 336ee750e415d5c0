"""`fusc reconcile`."""

import argparse


def add(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the parser."""
