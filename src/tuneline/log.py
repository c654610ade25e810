"""What a stage tells the person who waits: one line with the numbers that matter."""

import sys


def report(stage: str, line: str) -> None:
    """`validate: 12,000 rows, 3 refused`"""
    print(f"{stage}: {line}", flush=True)


def warn(stage: str, line: str) -> None:
    """Something a person should know, though the work goes on."""
    print(f"{stage}: warning: {line}", file=sys.stderr, flush=True)
