"""The command line. Each command loads only what it uses."""

import atexit
import gc
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from tuneline import __version__, layout
from tuneline.errors import PipelineError
from tuneline.log import report

STAGES = {
    "validate": "tuneline.stages.validate",
    "tokenize": "tuneline.stages.tokenize",
    "fine-tune": "tuneline.stages.fine_tune",
    "evaluate": "tuneline.stages.evaluate",
    "register": "tuneline.stages.register",
}


DRIFTED = 3  # exit code of `drift --fail-on-drift`; 2 is for what a person must mend


class _File(click.Path):
    """A path that the system can look at, whether or not anything is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]
        try:
            path.exists()
        except OSError as error:
            self.fail(f"{str(path)!r:.80}: {error.strerror}.", param, ctx)
        return path


FILE = _File()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Labelled text to a promoted language model. `dvc repro` runs the pipeline; these are its parts."""


@cli.command()
@click.argument("name", type=click.Choice(list(STAGES)))
def stage(name: str) -> None:
    """Run one stage. dvc.yaml calls this; run `dvc repro` yourself."""
    import_module("tuneline.leash").tie_to_parent()
    read_params = import_module("tuneline.params").read_params
    data = read_params("data").data  # a slip in params.yaml shows before anything heavy is loaded
    with layout.storage_errors():
        import_module("tuneline.intact").check(name, data.name)
        module = import_module(STAGES[name])
        module.run(read_params(*module.SECTIONS))


@cli.group()
def data() -> None:
    """Bring raw data under DVC."""


@data.command()
@click.argument("name")
@click.argument("source")
@click.option("--force", is_flag=True, help="Replace a data set of this name.")
@click.option("--format", help="Format of the files, where their names do not tell.")
@click.option("--encoding", help="Character encoding of text files, such as latin-1.")
@click.option("--delimiter", help="Column delimiter of csv and tsv files.")
@click.option("--header/--no-header", default=None, help="Whether csv and tsv files begin with column names.")
def add(name: str, source: str, force: bool, **reading: Any) -> None:
    """Bring SOURCE (a file, a folder, a URL, hf://datasets/ORG/NAME@REVISION) into data/raw/NAME."""
    told = {option: value for option, value in reading.items() if value is not None}
    added = import_module("tuneline.raw").add(name, source, force=force, reading=told)
    click.echo(added.summary)


def _pairs(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """("text=review",) → {"text": "review"}"""
    pairs = dict(value.partition("=")[::2] for value in values)
    if not all(ours and theirs for ours, theirs in pairs.items()) or len(pairs) < len(values):
        raise click.BadParameter(f"{' '.join(values)}: expected OURS=THEIRS, each of ours once, as in text=review.")
    return pairs


@cli.command()
@click.argument("model")
@click.argument("input", type=FILE)
@click.argument("output", type=FILE)
@click.option("--column", "columns", multiple=True, callback=_pairs, metavar="OURS=THEIRS",
              help="Where a column has another name in INPUT, as in text=review. Repeatable.")  # fmt: skip
@click.option("--rows-per-part", type=click.IntRange(min=1), default=10_000, show_default=True,
              help="Rows of each file in OUTPUT.")  # fmt: skip
@click.option("--encoding", default="utf-8", show_default=True, help="Character encoding of a csv or tsv file.")
@click.option("--delimiter", help="Column delimiter of a csv or tsv file.")
def score(model: str, input: Path, output: Path, **options: Any) -> None:
    """Predict every row of INPUT (csv, tsv, parquet) into the folder OUTPUT, as Parquet parts.

    MODEL is models:/NAME@champion, models:/NAME/VERSION, or NAME for its champion. The same command again goes on
    where it was cut short.
    """
    import_module("tuneline.scoring").score_file(model, input, output, **options)


@data.command()
@click.argument("name")
def push(name: str) -> None:
    """Push data set NAME to the DVC remote, and tell the Prefect server that there is a new version."""
    pushed = import_module("tuneline.pushing").push(name)
    import_module("flows.events").data_pushed(name, revision=pushed.revision, md5=pushed.md5)
    click.echo(f"{name} {pushed.md5[:12]} at commit {pushed.revision[:12]} is pushed, and the Prefect server knows.")


@cli.command()
@click.argument("model")
@click.argument("data", type=FILE)
@click.option("--column", "columns", multiple=True, callback=_pairs, metavar="OURS=THEIRS",
              help="Where a column has another name in DATA, as in text=review. Repeatable.")  # fmt: skip
@click.option("--encoding", default="utf-8", show_default=True, help="Character encoding of a csv or tsv file.")
@click.option("--delimiter", help="Column delimiter of a csv or tsv file.")
@click.option("--confidence", type=click.FloatRange(0.5, 0.9999), default=0.99, show_default=True,
              help="1 less the chance that all tests together raise a false alarm.")  # fmt: skip
@click.option("--smallest-effect", type=click.FloatRange(0, 1), default=0.1, show_default=True,
              help="Distance below which a difference does not matter, however sure it is.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--emit", is_flag=True, help="On drift, tell the Prefect server: tuneline.drift.found.")
@click.option("--fail-on-drift", is_flag=True, help="On drift, end with exit code 3.")
def drift(model: str, data: Path, as_json: bool, emit: bool, fail_on_drift: bool, **options: Any) -> None:
    """Compare the texts of DATA with those that MODEL is known by: is the difference more than chance?

    DATA is a csv, tsv or parquet file, or an OUTPUT folder of `tuneline score`. Ends with 0, drift or not.
    """
    found = import_module("tuneline.drift").compare(model, data, **options)
    import_module("tuneline.drift_report").show(found, as_json=as_json)
    if found.worst and emit:
        import_module("flows.events").drift_found(**found.event())
    if found.worst and fail_on_drift:
        sys.exit(DRIFTED)


@cli.command()
@click.option("--prefect-port", type=click.IntRange(1, 65535), default=4200, show_default=True)
@click.option("--mlflow-port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--runs", type=click.IntRange(1), help="Runs at a time. Default: one per GPU, two without.")
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address of this machine that others reach. The servers then ask for a login.")  # fmt: skip
def up(prefect_port: int, mlflow_port: int, runs: int | None, host: str) -> None:
    """Start a Prefect server, an MLflow server and a worker here, until Ctrl-C."""
    flows_up = import_module("flows.up")
    flows_up.up(flows_up.Settings(prefect_port, mlflow_port, runs, host))


@cli.command()
def summary() -> None:
    """Show the last run: scores, decision, report."""
    console = import_module("rich.console").Console()
    import_module("tuneline.summary").show(console)


@cli.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def models(name: str | None, as_json: bool) -> None:
    """List the registered models, or the versions of NAME: alias, score, age, outcome, what is missing."""
    listings = import_module("tuneline.listings")
    if as_json:
        click.echo(json.dumps(listings.models(name), indent=2, ensure_ascii=False))
    else:
        listings.show_models(import_module("rich.console").Console(), name)


@cli.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For machines, with the whole decisions.")
def history(name: str, as_json: bool) -> None:
    """Print the ledger of model NAME and verify it. Exits with 2 when an entry was edited or removed."""
    listings = import_module("tuneline.listings")
    found = listings.history(name)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        listings.show_history(import_module("rich.console").Console(), found)
    sys.exit(PipelineError.exit_code if found["problems"] else 0)


BY = click.option("--by", metavar="WHO", help="Who says so, where that is another than the one who runs this.")
REASON = click.option("--reason", required=True, help="Why. It goes into the ledger.")
OVERRIDES = ("refused", "incomparable")


@cli.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@REASON
@click.option("--accept-incomparable", is_flag=True, help="Although it could not be compared with the champion.")
@click.option("--accept-refused", is_flag=True, help="Although a guardrail refused it.")
@BY
def promote(name: str, version: int, reason: str, by: str | None, **accepted: bool) -> None:
    """Make VERSION of model NAME the champion, such as one that waits for approval."""
    accept = [outcome for outcome in OVERRIDES if accepted[f"accept_{outcome}"]]
    promotion = import_module("tuneline.promotion")
    report("promote", promotion.promote(name, version, reason=reason, accept=accept, by=by))


@cli.command()
@click.argument("name")
@click.option("--to", type=click.IntRange(min=1), metavar="VERSION",
              help="An earlier champion. Default: the one before today's.")  # fmt: skip
@REASON
@BY
def rollback(name: str, to: int | None, reason: str, by: str | None) -> None:
    """Make an earlier champion of model NAME the champion again."""
    report("rollback", import_module("tuneline.promotion").roll_back(name, to, reason=reason, by=by))


@cli.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def explain(model: str, as_json: bool) -> None:
    """Show what MODEL was made from, down to the raw bytes, and look whether all of it is still there.

    MODEL is models:/NAME@champion, models:/NAME/VERSION, NAME@VERSION, or NAME for its champion. Exits with 2 when a
    link is missing or changed.
    """
    console = import_module("rich.console").Console()
    sys.exit(import_module("tuneline.explaining").show(console, model, as_json=as_json))


@cli.command()
@click.argument("model")
@click.option("--keep", is_flag=True, help="Leave the workspace in place.")
@click.option("--json", "as_json", is_flag=True, help="The verdict as JSON.")
def rebuild(model: str, keep: bool, as_json: bool) -> None:
    """Build MODEL again from its commit and its data, in a clone of its own, and compare. The registry is not touched.

    Exits with 0 when bytes, predictions or metrics came out as recorded, else with 2.
    """
    console = import_module("rich.console").Console()
    sys.exit(import_module("tuneline.rebuilding").show(console, model, keep=keep, as_json=as_json))


@cli.command()
@click.argument("then")
@click.argument("now")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def diff(then: str, now: str, as_json: bool) -> None:
    """Compare two versions, as NAME@3 and NAME@7: params, data, metrics, and predictions that changed."""
    console = import_module("rich.console").Console()
    import_module("tuneline.diffing").show(console, then, now, as_json=as_json)


@cli.command()
def doctor() -> None:
    """Say what is wrong with this machine and checkout, and what to do. Exits with 2 when there is a problem."""
    console = import_module("rich.console").Console()
    sys.exit(import_module("tuneline.doctor").show(console))


@cli.command()
@click.option("--older-than", type=click.FloatRange(min=0), default=7, show_default=True, metavar="DAYS",
              help="Days since anything in it was written.")  # fmt: skip
@click.option("--checkpoints", is_flag=True, help="Also remove checkpoints of training that was not resumed.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
def clean(**options: Any) -> None:
    """Remove the workspaces of runs that are gone. DVC's cache is left alone: see `dvc gc`."""
    console = import_module("rich.console").Console()
    import_module("tuneline.cleaning").clean(console, **options)


@cli.command()
@click.option("--check", is_flag=True, help="Only say whether the file is in step.")
def schema(check: bool) -> None:
    """Write params.schema.json, which editors complete params.yaml from."""
    text: str = import_module("tuneline.params").schema()
    if not check:
        layout.SCHEMA.write_text(text, encoding="utf-8")
    elif not layout.SCHEMA.is_file() or layout.SCHEMA.read_text(encoding="utf-8") != text:
        raise PipelineError(f"{layout.SCHEMA} is not in step with params.py. Run: tuneline schema")


def main() -> None:
    """Run a command. What a person can mend ends with exit code 2 and no traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking for a GPU must not fix which ones are seen
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve each other on a busy machine
    look_rarely_for_garbage()
    try:
        cli(prog_name="tuneline")
    except PipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def look_rarely_for_garbage() -> None:
    """Libraries make a million objects that live as long as the process. By default Python looks through all of them
    again and again while it imports, and once more at its end, which takes a quarter of one and most of the other."""
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)
