"""Prefect flows: the second door to the DVC stages. Nothing outside this folder imports Prefect.

A worker loads these files from a clone of the deployed commit. The params model must come from that commit too,
whatever tuneline the environment has.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
if str(ROOT / "src") not in sys.path:
    sys.path.insert(0, str(ROOT / "src"))
