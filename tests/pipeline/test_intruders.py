"""Texts of strangers: in rows, labels, file names, params and revisions. None of them is ever run, opened as a path or
shown as more than text."""

import json
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest

from flows import workspaces
from tests.conftest import change, run
from tuneline import clones
from tuneline.checkpoints import find_checkpoint
from tuneline.clones import WorkspaceError
from tuneline.errors import CheckpointError, ParamsError
from tuneline.params.reading import check_params, load_yaml

pytestmark = pytest.mark.slow
SHELL = "$(touch pwned) `touch pwned`; touch pwned | touch pwned"
SCRIPT = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
EVIL = (
    SHELL, SCRIPT, "../../pwned", "/etc/passwd", "a\nb", "'; drop table runs; --", "{{ 7 * 7 }}", "-c touch pwned",
    "!!python/object:os.system [touch pwned]",
)  # fmt: skip
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def shown(page: Path) -> str:
    """The page after its scripts have run in a browser. Skips the test where there is none."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.skip(f"there is none of {', '.join(BROWSERS)} on this machine")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run([found[0], *options, page.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def nothing_ran(project: Path) -> bool:
    return not list(project.parent.rglob("*pwned"))


@pytest.fixture
def hostile(project: Path) -> Path:
    """A project whose rows, labels and file names are hostile."""
    good, bad = f"good {SCRIPT}", f"bad {SHELL}"
    texts = [f"{('good', 'bad')[i % 2]} kettle number {i} {EVIL[i % len(EVIL)]}" for i in range(80)]
    rows = [{"id": str(i), "text": text, "label": (good, bad)[i % 2]} for i, text in enumerate(texts)]
    raw = project / "data/sample/toy"
    shutil.rmtree(raw)
    raw.mkdir()
    (raw / "$(touch pwned); <script>.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    change(project / "params.yaml", "label_names: [bad, good]", f"label_names: {json.dumps([bad, good])}")
    run("tuneline", "data", "add", "--force", "toy", "data/sample/toy", cwd=project)
    return project


def test_hostile_rows_labels_and_file_names_are_texts_to_the_whole_pipeline(hostile: Path) -> None:
    run("dvc", "repro", cwd=hostile)
    assert nothing_ran(hostile)
    for page in (hostile / "data/reports/report.html", hostile / "data/validated/data_docs.html"):
        html = shown(page)
        assert "<title>pwned" not in html, page
        assert "<img src=x" not in html, page
        assert "&lt;script&gt;" in html, page


@pytest.mark.parametrize("text", EVIL)
def test_hostile_names_in_params_are_refused(in_project: Path, text: str) -> None:
    plain = load_yaml(Path("params.yaml"))
    for section in ("data", "register"):
        with pytest.raises(ParamsError, match=f"{section}.name"):
            check_params({**plain, section: {**plain[section], "name": text}})
    with pytest.raises((CheckpointError, ParamsError)):
        find_checkpoint(check_params({**plain, "model": {"checkpoint": text}}).model)
    assert nothing_ran(in_project)


@pytest.mark.parametrize("revision", ["--upload-pack=touch pwned", "", *EVIL])
def test_a_hostile_revision_names_no_commit(project: Path, monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    monkeypatch.setenv("TUNELINE_HOME", str(project.parent / "home"))
    monkeypatch.setattr(workspaces, "origin", lambda: str(project))
    monkeypatch.setattr(clones, "PAUSES", (0, 0))
    with pytest.raises(WorkspaceError), workspaces.workspace("otter", revision):
        pass
    assert nothing_ran(project)


class Pickled:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (Path("pwned"),)


def test_weights_that_are_a_pickle_are_not_loaded(project: Path) -> None:
    checkpoint = project / "checkpoint"
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps(Pickled()))
    done = run("dvc", "repro", cwd=project, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "safetensors" in said
    assert "Traceback" not in said
    assert nothing_ran(project)
