"""A coverage-guided fuzzer (atheris) on what reads files that a person brings: raw rows of every format, params.yaml.

    python -m tests.fuzz.readers [--seconds 300]

Needs `pip install atheris`, which Linux has wheels of. An input that ends in an error of another kind than DataError or
ParamsError, or takes longer than 10 s, is kept in tests/fuzz/cases, and tests/test_fuzz_cases.py tries it ever after.
"""

import argparse
import sys
import tempfile
from pathlib import Path

CASES = Path(__file__).parent / "cases"
PARAMS = "params.yaml"
SLOWEST = 10  # seconds


def feed(folder: Path, case: bytes) -> None:
    """The first byte says what the others are: a raw file of some format, or params.yaml."""
    from tests.raw_files import WHOLE, attempt  # noqa: PLC0415  atheris must see tuneline being imported
    from tuneline.errors import ParamsError  # noqa: PLC0415
    from tuneline.params.reading import check_params, load_yaml  # noqa: PLC0415

    names = [*WHOLE, PARAMS]
    name, content = names[case[0] % len(names) if case else 0], case[1:]
    if name != PARAMS:
        attempt(folder, name, content, WHOLE[name][0])
        (folder / name).unlink()
        return
    (folder / name).write_bytes(content)
    try:
        check_params(load_yaml(folder / name), folder / name)
    except ParamsError:
        pass
    finally:
        (folder / name).unlink()


def seeds(folder: Path) -> None:
    """Whole files to begin with."""
    from tests.raw_files import WHOLE  # noqa: PLC0415

    wholes = [content for _, content in WHOLE.values()] + [Path(PARAMS).read_bytes()]
    for number, content in enumerate(wholes):
        (folder / f"whole-{number}").write_bytes(bytes([number]) + content)


def main() -> None:
    import atheris  # noqa: PLC0415  no part of `make test`

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    with atheris.instrument_imports(include=["tuneline"]):
        import tuneline.params.reading  # noqa: PLC0415
        import tuneline.rows  # noqa: F401, PLC0415
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory() as place:
        seeds(Path(corpus))
        raw = Path(place)
        atheris.Setup(
            [sys.argv[0], corpus, f"-max_total_time={options.seconds}", f"-artifact_prefix={CASES}/",
             f"-timeout={SLOWEST}", "-max_len=4096", "-rss_limit_mb=4000"],
            lambda case: feed(raw, case),
        )  # fmt: skip
        atheris.Fuzz()


if __name__ == "__main__":
    main()
