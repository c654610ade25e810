"""What the fuzzer of tests/fuzz found once is read or refused today."""

from pathlib import Path

import pytest

from tests.fuzz.readers import CASES, feed


@pytest.mark.parametrize("case", sorted(CASES.glob("*-*")), ids=lambda case: case.name)
def test_a_case_is_read_or_refused(tmp_path: Path, case: Path) -> None:
    feed(tmp_path, case.read_bytes())
