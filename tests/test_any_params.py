"""Whatever stands in params.yaml, the answer is params or a ParamsError: never an error of another kind."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tuneline.errors import ParamsError
from tuneline.params.reading import check_params, load_yaml

SAMPLE = (ROOT / "params.yaml").read_bytes()


def read(path: Path, content: bytes) -> str | None:
    """The error, if any."""
    path.write_bytes(content)
    try:
        check_params(load_yaml(path), path)
    except ParamsError as error:
        return str(error)
    return None


BYTES = st.binary(max_size=80)
TEXTS = st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass"))
DAMAGED = st.tuples(st.integers(0, len(SAMPLE)), st.integers(0, 40), BYTES).map(
    lambda cut: SAMPLE[: cut[0]] + cut[2] + SAMPLE[cut[0] + cut[1] :]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(BYTES, TEXTS, DAMAGED))
@example(b"data: {name: x, name: y}")
@example(b"data: &a [*a]")
@example(b"data: !!python/object:os.system x")
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    error = read(tmp_path / "params.yaml", content)
    assert error is None or "params.yaml" in error


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"data:\n  name: a\x07b\n", "params.yaml: character 16 is U+0007, which YAML does not allow. Remove it."),
        (b"data: 2001-99-99T01:01:01Z", "a value is not what it looks like: month must be in 1..12. Put it in quotes."),
        (b"data: !!int x", "a value is not what it looks like"),
        (b"a:\n  " + b"[" * 200_000, "params.yaml line 2: nests more than 100 deep. Sections nest a few levels."),
    ],
)
def test_what_yaml_itself_cannot_read_is_said(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in (read(tmp_path / "params.yaml", content) or "")
