"""``python -m trainer fetch``: a benchmark set as zip archives."""

import argparse

from trainer.data.benchmark_sets import fetch


def fetch_command(arguments: argparse.Namespace) -> int:
    """Download a set, and print the paths of its archives."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for path in fetch(arguments.name, arguments.folder):
        print(path)
    return 0
