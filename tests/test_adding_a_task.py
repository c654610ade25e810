"""The page on adding a task: what it says works."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, run


@pytest.mark.slow
def test_a_task_made_by_the_page_passes_the_contract(tmp_path: Path) -> None:
    for folder in ("src", "flows", "tests", "recipes"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    page = (ROOT / "docs/adding-a-task.md").read_text(encoding="utf-8")
    module, line, case = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "src/tuneline/tasks/rating.py").write_text(module)
    for name, opening, block in (
        ("src/tuneline/tasks/__init__.py", "TASKS = {", line),
        ("tests/tasks/test_contract.py", "= {", case),
    ):
        path = tmp_path / name
        path.write_text(path.read_text().replace(f"{opening}\n", f"{opening}\n{block}", 1))
    done = run(
        sys.executable, "-m", "pytest", "-q", "tests/tasks/test_contract.py", "-k", "rating", "-p", "no:cacheprovider",
        cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{tmp_path / 'src'}",
    )  # fmt: skip
    assert re.search(r"\d\d passed, \d+ deselected", done.stdout), done.stdout
