"""How numbers are spelled for people."""

import pytest

from tuneline.display import cell, difference, interval, number, p_value, percent, plain, sentence, size, table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.91234, "0.9123"),
        (1.0, "1.000"),
        (123.456, "123.5"),
        (12345.6, "12,346"),
        (0.00012345, "1.23e-04"),
        (12000, "12,000"),
        (0.0, "0.0000"),
        (None, "–"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_have_three_or_four_digits(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_a_difference_has_its_sign() -> None:
    assert [difference(value) for value in (0.05, -0.05, 0.0)] == ["+0.0500", "−0.0500", "±0.0000"]


def test_parameters_are_spelled_as_yaml_spells_them() -> None:
    assert [plain(value) for value in (None, True, 2e-5, 100000, ["a", "b"], [])] == [
        "null",
        "true",
        "2e-05",
        "100000",
        "a, b",
        "none",
    ]


def test_an_interval_stands_in_brackets_and_one_of_a_gain_has_signs() -> None:
    assert interval([0.91234, 0.95]) == "[0.9123, 0.9500]"
    assert interval([-0.01, 0.05], signed=True) == "[−0.0100, +0.0500]"
    assert (interval(None), interval([None, None])) == ("", "")


def test_a_p_value_is_never_shown_as_zero() -> None:
    assert [p_value(each) for each in (0.0123, 0.00001, None)] == ["p = 0.012", "p < 0.001", ""]


def test_a_share_is_whole_only_when_all_of_it_is_there() -> None:
    assert [percent(share) for share in (1.0, 0.9999, 0.5, 0.0001, 0.0)] == [
        "100.0%",
        "> 99.9%",
        "50.0%",
        "< 0.1%",
        "0.0%",
    ]


def test_sizes_are_counted_in_powers_of_ten() -> None:
    assert [size(count) for count in (512, 90_900_000, 2.5e9)] == ["512 bytes", "90.90 MB", "2.500 GB"]


def test_a_reason_becomes_a_sentence() -> None:
    assert sentence("there was no champion") == "There was no champion."
    assert sentence("Sound.") == "Sound."


def test_cells_of_a_markdown_table_are_text() -> None:
    assert cell("a|b\n<b>*c*") == "a\\|b &lt;b&gt;\\*c\\*"
    assert table(("x", "y"), [("1", "2")]) == "| x | y |\n| --- | --- |\n| 1 | 2 |"
