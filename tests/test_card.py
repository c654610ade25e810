"""The model card: what the hub reads in it, and what a person does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from tests.evidence import EVIDENCE, REGISTRATION
from tests.test_reporting import TWO
from tuneline.card import CardFacts, metadata, render, shown_params
from tuneline.digests import model_digest
from tuneline.params import Card
from tuneline.tasks import TASKS, task_class

FULL = replace(
    TWO,
    **EVIDENCE,
    validation={
        "rows": 26,
        "refused": 2,
        "splits": {"train": 12, "validation": 4, "test": 8},
        "labels": {"negative": {"train": 6, "validation": 2, "test": 4}},
    },
)
FACTS = CardFacts(
    name="reviews",
    pipeline_tag="text-classification",
    said=Card(language=["en"], license="apache-2.0", intended_use="sorting letters of customers"),
    report=FULL,
    training={"checkpoint": "sentence-transformers/all-MiniLM-L6-v2", "train_rows": 12, "steps": 40},
    base_on_hub=True,
    origin={"source": "hf://datasets/org/reviews@v1", "revision": "c0ffee"},
    lineage={"git_commit": "a1b2", "score.accuracy": "0.75"},
    labels=["negative", "positive"],
    performance=REGISTRATION["performance"],
)


def test_the_hub_reads_the_metadata_as_it_was_meant() -> None:
    data: Any = ModelCard(render(FACTS)).data  # its fields are declared nowhere
    assert (data.language, data.license, data.library_name) == (["en"], "apache-2.0", "transformers")
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert (data.pipeline_tag, data.tags, data.datasets) == (
        "text-classification",
        ["tuneline", "text-classification"],
        ["org/reviews"],
    )
    assert data.metrics == ["accuracy", "loss"]
    assert data.model_name == "reviews"
    assert {(each.metric_type, each.metric_value) for each in data.eval_results} == {("accuracy", 0.75), ("loss", 0.5)}
    assert {(each.task_type, each.dataset_type, each.dataset_split) for each in data.eval_results} == {
        ("text-classification", "org/reviews", "test")
    }


def test_what_is_not_known_is_left_out_of_the_metadata_and_said_in_the_text() -> None:
    bare = replace(FACTS, said=Card(), base_on_hub=False, origin={}, report=TWO, performance={})
    assert not {"language", "license", "base_model", "datasets"} & set(metadata(bare))
    text = render(bare)
    assert "several seeds" not in text
    assert ModelCard(text).data.get("library_name") == "transformers"
    for said in (
        "Not stated (register.card.intended_use",
        "The languages of the texts are not recorded.",
        "No behavioural check was run",
        "The scores have no intervals.",
        "Confidence was not calibrated",
    ):
        assert said in text, said


def test_the_card_says_data_training_evaluation_limits_and_lineage() -> None:
    text = render(FACTS)
    for said in (
        "\n\n## Intended use\n\nSorting letters of customers.\n",
        "Origin: hf://datasets/org/reviews@v1, revision `c0ffee`.",
        "26 raw rows, 2 refused by the data checks.",
        "| rows | 12 | 4 | 8 |",
        "- `learning_rate`: 0.0001",
        "- `seed`: 0",
        "| accuracy | 0.7500 | \\[0.7000, 0.8000\\] | 0.7000 |",
        "| over 40 words | 40 | 0.6000 | \\[0.4500, 0.7500\\] |  |",
        "| label neutral | 3 | 0.0000 | – | too small to judge |",
        "a temperature of 1.400",
        "| seed | accuracy | loss |\n| --- | --- | --- |\n| 1 | 0.7200 | 0.5500 |\n| 2, kept | 0.7600 | 0.5300 |\n",
        "| mean | 0.7400 | 0.5400 |\n| standard deviation | 0.0283 | 0.0141 |\n",
        "| ece | 0.0900 | 0.0310 |",
        "| typo | invariance | 10 | 80.0% |",
        "- Weakest slice: over 40 words, accuracy 0.6000 on 40 rows.",
        "- Too small to judge: label neutral.",
        "- typo: 80.0% of 10 rows pass.",
        "- one row, p95: 6.100 ms",
        "- 610.0 MB of memory at most",
        "| git commit | a1b2 |",
        "tuneline rebuild models:/reviews/VERSION",
    ):
        assert said in text, said


def test_of_the_tags_of_a_version_the_lineage_has_those_that_say_what_it_was_made_of() -> None:
    tags = {
        "score.accuracy": "0.75", "performance.latency_ms": "{}", "forgetting.cka_mean": "0.9", "record": "{}",
        "git_changed": "[]", "stage.validate": "ab" * 32, "git_commit": "a1b2", "test_sha256": "ff00",
    }  # fmt: skip
    lineage = render(replace(FACTS, lineage=tags)).split("## Lineage")[1].split("## How")[0]
    assert [line.split(" | ")[0] for line in lineage.strip().splitlines()[2:]] == [
        "| base checkpoint", "| git commit", "| test sha256", "| stage validate",
    ]  # fmt: skip
    assert "| stage validate | abababababab |" in lineage


def test_a_slice_without_a_score_is_not_called_small() -> None:
    empty = {"name": "no label", "by": "where", "rows": 80, "value": None, "interval": None, "judged": False}
    text = render(replace(FACTS, report=replace(FULL, slices=[*EVIDENCE["slices"], empty])))
    assert "| no label | 80 | – | – | nothing to score |" in text
    assert "- Too small to judge: label neutral.\n" in text


def test_same_facts_give_the_same_card() -> None:
    assert render(FACTS) == render(replace(FACTS))


def test_texts_of_rows_and_labels_are_no_markup() -> None:
    text = render(replace(FACTS, labels=["<script>x</script>", "a|b"]))
    assert "<script>" not in text and "a\\|b" in text


def test_params_that_differ_from_their_defaults_are_shown() -> None:
    shown = shown_params(
        {"train": {"seed": 0, "learning_rate": 5e-05, "num_train_epochs": 3, "label_smoothing_factor": 0.1}}
    )
    assert shown == {"learning_rate": 5e-05, "num_train_epochs": 3, "seed": 0, "label_smoothing_factor": 0.1}


@pytest.mark.parametrize(
    ("name", "options", "tag"),
    [
        ("text-classification", {}, "text-classification"),
        ("token-classification", {}, "token-classification"),
        ("question-answering", {}, "question-answering"),
        ("seq2seq", {"goal": "translation"}, "translation"),
        ("seq2seq", {"goal": "summarization"}, "summarization"),
        ("causal-lm", {}, "text-generation"),
        ("masked-lm", {}, "fill-mask"),
    ],
)
def test_tasks_are_named_as_the_hub_names_them(name: str, options: dict[str, Any], tag: str) -> None:
    assert name in TASKS
    assert task_class(name).model_validate({"name": name, **options}).pipeline_tag == tag


def test_a_card_may_change_and_the_model_stays_the_same(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    for name in ("model.safetensors", "README.md", "code/README.md"):
        (tmp_path / name).write_text(name)
    before = model_digest(tmp_path)
    (tmp_path / "README.md").write_text("another card")
    assert model_digest(tmp_path) == before
    (tmp_path / "code/README.md").write_text("no card of the model")
    assert model_digest(tmp_path) != before


def test_metadata_is_plain_yaml() -> None:
    block = render(FACTS).split("---\n")[1]
    assert YAML(typ="safe").load(block) == metadata(FACTS)
