"""How fast a model answers, and what it takes: as measured where it was registered.

    {"latency_ms": {"p50": 8.1, "p95": 11.9, "p99": 14.2}, "rows_per_second": 412.0, "size_bytes": 91630212,
     "peak_memory_bytes": 1193287680, "device": "AMD EPYC 7763, 2 threads"}

Another machine gives other numbers, so they stand in the registry and never in what DVC hashes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

TAG = "tuneline.performance."


@dataclass(frozen=True)
class Performance:
    """Speed and size of a model folder on a device."""

    latency_ms: dict[str, float]  # of one row by itself, from text to answer: p50, p95, p99
    rows_per_second: float  # in batches
    size_bytes: int  # of the model folder
    peak_memory_bytes: int  # on a GPU what the model allocates there, else the whole process
    device: str

    def tags(self) -> dict[str, str]:
        """As tags of a model version; every digit is kept."""
        return {TAG + name: json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "Performance | None":
        """What the tags of a version say; None where it was never measured."""
        names = [field.name for field in fields(cls)]
        if not all(TAG + name in tags for name in names):
            return None
        return cls(**{name: json.loads(tags[TAG + name]) for name in names})
