"""raw: `data add` in a real git and DVC repository, and in a fresh clone of it."""

import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from tuneline import raw
from tuneline.digests import tree_digest
from tuneline.errors import DataError, StorageError

REVIEWS = "text,category\nBroke at once.,negative\n"


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with DVC, a remote, and a source of its own in data/sample/reviews."""
    with pytest.MonkeyPatch.context() as patch:
        _environment(patch)
        root = tmp_path_factory.mktemp("template") / "project"
        (root / "data/sample/reviews").mkdir(parents=True)
        (root / "data/sample/reviews/reviews.csv").write_text(REVIEWS)
        (root / ".gitignore").write_text(".tuneline/\n")
        run("git", "init", "-q", cwd=root)
        run("dvc", "init", "-q", cwd=root)
        run("dvc", "config", "core.analytics", "false", cwd=root)
        return root


def _environment(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    patch.setenv("DVC_NO_ANALYTICS", "1")
    for role in ("AUTHOR", "COMMITTER"):
        patch.setenv(f"GIT_{role}_NAME", "Ada")
        patch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")


@pytest.fixture
def project(empty_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _environment(monkeypatch)
    root = tmp_path / "project"
    shutil.copytree(empty_project, root)
    monkeypatch.chdir(root)
    return root


def commit_with_stage(remote: Path | None = None) -> None:
    """A stage that reads the folder data/raw/reviews, run once; all committed, and pushed to the remote."""
    stage = {"cmd": "cat data/raw/reviews/* > out.txt", "deps": ["data/raw/reviews"], "outs": ["out.txt"]}
    YAML().dump({"stages": {"read": stage}}, Path("dvc.yaml"))
    run("dvc", "repro", "-q")
    if remote:
        run("dvc", "remote", "add", "-q", "-d", "store", str(remote))
        run("dvc", "push", "-q")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "data")


def pointer(name: str = "reviews") -> dict[str, object]:
    content: dict[str, object] = YAML(typ="safe").load(Path(f"data/raw/{name}.dvc"))
    return content


def state() -> dict[str, str]:
    """Every file of the project outside .git, .dvc and .tuneline."""
    hidden = {".git", ".dvc", ".tuneline"}
    return {str(p): p.read_text() for p in sorted(Path().rglob("*")) if p.is_file() and not hidden & set(p.parts)}


def refusal(name: str, source: str, **options: object) -> str:
    before = state()
    with pytest.raises(DataError) as caught:
        raw.add(name, source, **options)  # type: ignore[arg-type]
    assert state() == before
    return str(caught.value)


@pytest.mark.parametrize("source", ["data/sample/reviews", "data/sample/reviews/reviews.csv"])
def test_a_source_inside_the_repository_comes_in_by_repro_in_a_fresh_clone(
    project: Path, source: str, tmp_path: Path
) -> None:
    added = raw.add("reviews", source)
    assert added.revision is None
    assert sorted(path.name for path in added.folder.iterdir()) == ["reviews.csv"]
    assert pointer()["meta"] == {"source": source}
    assert "frozen" not in pointer()
    assert pointer()["deps"][0]["path"] == f"../{source.removeprefix('data/')}"  # type: ignore[index]
    commit_with_stage()
    clone = tmp_path / "clone"
    run("git", "clone", "-q", str(project), str(clone))
    run("dvc", "repro", "-q", cwd=clone)  # no remote, no cache: the source itself is all there is
    assert (clone / "out.txt").read_text() == REVIEWS
    assert (clone / "dvc.lock").read_text() == Path("dvc.lock").read_text()
    assert run("git", "status", "--short", cwd=clone) == ""
    source_file = clone / "data/sample/reviews/reviews.csv"
    source_file.write_text(REVIEWS + "Superb.,positive\n")
    run("dvc", "repro", "-q", cwd=clone)  # a changed source is brought in again
    assert "Superb." in (clone / "out.txt").read_text()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_source_elsewhere_is_frozen_and_comes_by_pull(project: Path, kind: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "train.csv").write_text(REVIEWS)
    source = str(elsewhere / "train.csv" if kind == "file" else elsewhere)
    added = raw.add("reviews", source)
    assert added.revision == tree_digest(Path("data/raw/reviews"))
    assert pointer()["frozen"] is True
    assert pointer()["meta"] == {"source": source, "revision": added.revision}
    assert pointer()["deps"][0]["path"] == source  # type: ignore[index]
    commit_with_stage(tmp_path / "store")
    shutil.rmtree(elsewhere)
    clone = tmp_path / "clone"
    run("git", "clone", "-q", str(project), str(clone))
    run("dvc", "pull", "-q", cwd=clone)
    run("dvc", "repro", "-q", cwd=clone)
    assert (clone / "out.txt").read_text() == REVIEWS
    assert run("git", "status", "--short", cwd=clone) == ""


def test_the_summary_shows_what_came_and_what_to_write_into_params(project: Path) -> None:
    added = raw.add("reviews", "data/sample/reviews")
    assert "data/raw/reviews: csv, 1 rows, columns text, category" in added.summary
    assert "text: 'Broke at once.'" in added.summary
    assert "git add data/raw/reviews.dvc data/raw/.gitignore" in added.summary
    assert YAML(typ="safe").load(added.params) == {
        "data": {"name": "reviews", "columns": {"label": "category"}},
        "task": {"name": "text-classification"},
    }


def test_options_without_which_a_file_cannot_be_read_are_suggested(project: Path) -> None:
    Path("odd.tsv").write_bytes("a fine café , and a very long one at that , said all\t1\nbad\t0\n".encode("latin-1"))
    added = raw.add("odd", "odd.tsv")
    assert added.description.rows == 2
    assert YAML(typ="safe").load(added.params)["data"] == {
        "name": "odd",
        "encoding": "latin-1",
        "header": False,
        "column_names": ["text", "label"],
    }


def test_a_set_is_replaced_only_by_force_and_a_failed_one_leaves_the_old(project: Path) -> None:
    raw.add("reviews", "data/sample/reviews")
    assert "replace it with --force" in refusal("reviews", "data/sample/reviews")
    Path("bad.csv").write_text("text,label\nlonely\n")
    assert "data/raw/reviews/bad.csv row 2: 1 fields" in refusal("reviews", "bad.csv", force=True)
    Path("good.csv").write_text("text,label\nSuperb.,positive\n")
    raw.add("reviews", "good.csv", force=True)
    assert [path.name for path in Path("data/raw/reviews").iterdir()] == ["good.csv"]


def test_nothing_is_left_of_a_first_set_that_cannot_be_read(project: Path) -> None:
    Path("bad.csv").write_text('text,label\n"never closed,x\n')
    assert "data/raw/bad/bad.csv row 2: a quoted field is opened here" in refusal("bad", "bad.csv")
    assert not Path("data/raw").exists()


def test_a_file_from_the_web_is_imported_with_its_etag(project: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("ETag", '"abc123"')
            self.send_header("Content-Length", str(len(REVIEWS)))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(REVIEWS.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = f"http://127.0.0.1:{server.server_port}/files/train.csv?download=1"
        added = raw.add("web", source)
    finally:
        server.shutdown()
        server.server_close()
    assert [file.shown for file in added.description.files] == ["data/raw/web/train.csv"]
    assert pointer("web")["deps"][0]["path"] == source  # type: ignore[index]
    assert "abc123" in pointer("web")["deps"][0]["checksum"]  # type: ignore[index]
    assert pointer("web")["frozen"] is True


def test_what_dvc_says_when_it_fails_is_passed_on(project: Path) -> None:
    said = refusal("web", "http://127.0.0.1:9/train.csv")
    assert "dvc repro" in said
    assert "Nothing was left half-written. It said:\n" in said
    assert "127.0.0.1" in said


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("../up", "data/sample/reviews", "not the name of a data set"),
        ("a/b", "data/sample/reviews", "not the name of a data set"),
        ("--force", "data/sample/reviews", "not the name of a data set"),
        ("reviews.dvc", "data/sample/reviews", "not the name of a data set"),
        ("reviews", "data/sample/revues", "no such file or folder"),
        ("reviews", ".", "lie in each other"),
        ("reviews", "ftp://example.org/train.csv", "unknown scheme 'ftp'"),
        ("reviews", "https://example.org/download", "does not end in a file name"),
        ("reviews", "hf://imdb", "not the address of a data set"),
    ],
)
def test_a_name_or_source_that_cannot_be_is_refused(project: Path, name: str, source: str, said: str) -> None:
    assert said in refusal(name, source)


def test_a_password_in_an_address_is_refused_and_not_repeated(project: Path) -> None:
    said = refusal("reviews", "https://ada:secret@example.org/train.csv")
    assert "holds a user or password" in said
    assert "secret" not in said


def test_a_revision_is_for_the_hub_alone(project: Path) -> None:
    assert "only a data set from the hub has one" in refusal("reviews", "data/sample/reviews", revision="main")


def test_outside_a_repository_the_commands_that_make_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(REVIEWS)
    assert "`git init` and `dvc init`" in refusal("reviews", "a.csv")


def test_a_missing_dvc_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = Path(shutil.which("git") or "").parent
    monkeypatch.setenv("PATH", str(git))
    monkeypatch.setattr(sys, "executable", str(project / "python"))
    if shutil.which("dvc"):
        pytest.skip("dvc lies beside git here")
    assert "dvc: not found on PATH" in refusal("reviews", "data/sample/reviews")


def test_a_folder_that_cannot_be_written_is_a_storage_error(project: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    Path("data").chmod(0o500)
    with pytest.raises(StorageError, match="permission denied"):
        raw.add("reviews", "data/sample/reviews")
    Path("data").chmod(0o700)


# The hub


def test_the_hub_out_of_reach_is_said_plainly(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    said = refusal("imdb", "hf://datasets/stanfordnlp/imdb@main")
    assert "the Hugging Face hub cannot be reached. HF_HUB_OFFLINE is set." in said


def test_a_set_from_the_hub_is_recorded_with_its_commit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import ClassLabel, Dataset, Features, Value  # noqa: PLC0415  (a second; no other test needs it)

    from tuneline import hub_data  # noqa: PLC0415

    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    train = Dataset.from_dict({"text": ["Bad.", "Good.", "?"], "label": [0, 1, -1]}, features=features)
    monkeypatch.setattr(hub_data, "_commit", lambda *_: "e6281661")
    monkeypatch.setattr(hub_data, "load_dataset", lambda *_, **__: {"train": train, "unsupervised": train})
    added = raw.add("imdb", "hf://datasets/stanfordnlp/imdb")
    table = pq.read_table("data/raw/imdb/train.parquet")
    assert table.to_pydict() == {"text": ["Bad.", "Good.", "?"], "label": ["neg", "pos", None]}
    assert table.schema == pa.schema({"text": pa.string(), "label": pa.string()})
    assert [path.name for path in added.folder.iterdir()] == ["train.parquet"]
    assert pointer("imdb")["meta"] == {"source": "hf://datasets/stanfordnlp/imdb", "revision": "e6281661"}
    first = Path("data/raw/imdb/train.parquet").read_bytes()
    hub_data.write_splits({"train": train}, Path("again"))
    assert Path("again/train.parquet").read_bytes() == first
