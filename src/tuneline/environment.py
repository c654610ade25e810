"""The libraries and the processor that a model was made with, as text that two machines can compare.

# Python 3.11.9
# CPU AMD EPYC
# CPU capability AVX512
torch==2.13.0
"""

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import torch

COMPUTING = ("torch", "transformers", "accelerate", "peft", "tokenizers", "safetensors", "numpy", "scikit-learn",
             "pyarrow", "duckdb", "great-expectations", "tuneline")  # fmt: skip
"""Distributions that touch the bytes of data or model: named first where environments differ."""


@dataclass(frozen=True)
class Environment:
    """Facts of the machine, and the installed distributions with their versions."""

    facts: Mapping[str, str]
    packages: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"# {name} {value}" for name, value in self.facts.items()]
        lines += [f"{name}=={version}" for name, version in self.packages.items()]
        return "\n".join(lines) + "\n"


FACTS = ("Python", "system", "CPU capability", "CPU", "GPU", "torch threads")  # a longer name before its beginning


def read(text: str) -> Environment:
    """What str(Environment) wrote."""
    facts, packages = {}, {}
    for line in text.splitlines():
        if line.startswith("# "):
            name = next((name for name in FACTS if line[2:].startswith(f"{name} ")), line[2:].partition(" ")[0])
            facts[name] = line[2:].removeprefix(f"{name} ")
        elif "==" in line:
            name, _, packages_version = line.partition("==")
            packages[name] = packages_version
    return Environment(facts, packages)


def this() -> Environment:
    """The environment of this process."""
    libc = " ".join(platform.libc_ver()).strip()
    facts = {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}" + (f", {libc}" if libc else ""),
        "CPU": cpu(),
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "GPU": _gpu(),
        "torch threads": str(torch.get_num_threads()),
    }
    return Environment(facts, _installed())


def _installed() -> dict[str, str]:
    """Name → version. A folder that an interrupted install left without metadata is no distribution."""
    whole = [each for each in distributions() if each.read_text("METADATA") or each.read_text("PKG-INFO")]
    return dict(sorted((each.metadata["Name"].lower().replace("_", "-"), each.version) for each in whole))


def differences(then: Environment, now: Environment) -> list[str]:
    """What differs, one phrase each: the machine, then libraries that compute, then all others."""
    names = sorted(then.packages.keys() | now.packages.keys(), key=lambda name: (name not in COMPUTING, name))
    pairs = [(name, then.facts.get(name), now.facts.get(name)) for name in {**then.facts, **now.facts}]
    pairs += [(name, then.packages.get(name), now.packages.get(name)) for name in names]
    return [f"{name} {before or 'none'} → {after or 'none'}" for name, before, after in pairs if before != after]


def cpu() -> str:
    """The processor's model name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _gpu() -> str:
    """The GPUs of this host by name, with their driver. CUDA is not asked: that would fix which of them are seen."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return "none"
    return "; ".join(line.strip() for line in listed.splitlines()) or "none"
