"""Splits: stable, disjoint by key, and as large as asked."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from tuneline.params import MaxRows, Splits
from tuneline.splitting import NO_SPLIT, TEST, TRAIN, VALIDATION, Times, assign, draws, limit

KEYS = [f"r{i}" for i in range(10_000)]


def split(keys, given=NO_SPLIT, times=None, **splits):
    given = np.full(len(keys), given, np.int8) if np.isscalar(given) else np.array(given, np.int8)
    return assign(given, draws(pa.array(keys)), Splits(**splits), times)


def test_draws_are_the_documented_bytes_of_blake2b():
    expected = hashlib.blake2b("naïve".encode(), digest_size=24).digest()
    found = draws(pa.array(["naïve"]))
    assert b"".join(int(value).to_bytes(8, "big") for value in found[0]) == expected


def test_shares_come_out_as_asked():
    counts = np.bincount(split(KEYS, test=0.2, validation=0.1), minlength=3) / len(KEYS)
    assert counts == pytest.approx([0.72, 0.08, 0.2], abs=0.015)  # validation: a tenth of what is not test


def test_appended_rows_never_move_old_ones():
    old = split(KEYS[:500])
    new = split(["new", *KEYS[:500], *KEYS[500:]])
    assert (new[1:501] == old).all()


def test_another_test_share_leaves_the_validation_draw_alone():
    small, large = split(KEYS, test=0.1), split(KEYS, test=0.3)
    assert ((small == TEST) <= (large == TEST)).all()
    both = (small != TEST) & (large != TEST)
    assert (small[both] == large[both]).all()


def test_equal_keys_fall_on_one_side():
    assert len(set(split(["same"] * 50))) == 1


def test_splits_given_by_files_are_kept():
    given = [TRAIN] * 400 + [VALIDATION] * 50 + [TEST] * 50
    assert (split(KEYS[:500], given) == given).all()


def test_a_missing_test_split_is_taken_from_training_rows_alone():
    given = np.array([TRAIN] * 5_000 + [VALIDATION] * 5_000)
    found = split(KEYS, given, test=0.2)
    assert (found[5_000:] == VALIDATION).all()
    assert (found[:5_000] == TEST).mean() == pytest.approx(0.2, abs=0.02)
    assert not (found[:5_000] == VALIDATION).any()


def test_a_missing_validation_split_leaves_the_given_test_alone():
    given = np.array([NO_SPLIT] * 5_000 + [TEST] * 5_000)
    found = split(KEYS, given, validation=0.1)
    assert (found[5_000:] == TEST).all()
    assert (found[:5_000] == VALIDATION).mean() == pytest.approx(0.1, abs=0.015)


def test_validation_share_of_zero_leaves_none():
    assert not (split(KEYS, validation=0) == VALIDATION).any()


def test_time_decides_where_params_say_from_when():
    times = Times(np.array([False, True, True]), np.array([False, False, True]))
    found = split(["a", "b", "c"], times=times, validation_from="2024", test_from="2025")
    assert found.tolist() == [TRAIN, VALIDATION, TEST]


def test_max_rows_keeps_the_lowest_draws_and_stays_put_when_rows_are_appended():
    chances = draws(pa.array(KEYS))
    codes = np.zeros(len(KEYS), np.int8)
    few = limit(np.ones(len(KEYS), bool), codes, chances, MaxRows(train=100))
    assert few.sum() == 100
    assert chances[few, 2].max() < chances[~few, 2].min()
    more = limit(np.ones(len(KEYS), bool), codes, chances, MaxRows(train=200))
    assert (few <= more).all()


def test_max_rows_counts_only_rows_that_were_kept():
    kept = np.arange(len(KEYS)) % 2 == 0
    few = limit(kept, np.zeros(len(KEYS), np.int8), draws(pa.array(KEYS)), MaxRows(train=100))
    assert few.sum() == 100
    assert not few[~kept].any()
