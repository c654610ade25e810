"""The command line. Each command loads only what it uses."""

import os
import sys
from importlib import import_module
from typing import Any

import click

from tuneline import __version__, layout
from tuneline.errors import PipelineError

STAGES = {
    "validate": "tuneline.stages.validate",
    "tokenize": "tuneline.stages.tokenize",
    "fine-tune": "tuneline.stages.fine_tune",
    "evaluate": "tuneline.stages.evaluate",
    "register": "tuneline.stages.register",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Labelled text to a promoted language model. `dvc repro` runs the pipeline; these are its parts."""


@cli.command()
@click.argument("name", type=click.Choice(list(STAGES)))
def stage(name: str) -> None:
    """Run one stage. dvc.yaml calls this; run `dvc repro` yourself."""
    read_params = import_module("tuneline.params").read_params
    read_params()  # a slip in params.yaml shows before anything heavy is loaded
    module = import_module(STAGES[name])
    with layout.storage_errors():
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


@cli.command()
def summary() -> None:
    """Show the last run: scores, decision, report."""
    console = import_module("rich.console").Console()
    import_module("tuneline.summary").show(console)


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
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve each other on a busy machine
    try:
        cli(prog_name="tuneline")
    except PipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
