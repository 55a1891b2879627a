"""How numbers are written, cell by cell."""

from __future__ import annotations

import pytest

from wardround.reports.numbers import counted, dollars, duration, interval, number, percent, seconds, share


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0.0, "0.0"),
        (1.0, "100.0"),
        (0.5, "50.0"),
        (1 / 3, "33.3"),
        (2 / 3, "66.7"),
        (0.664, "66.4"),
        (0.65, "65.0"),
        (0.0004, "0.0"),
        (0.0006, "0.1"),
        (0.9994, "99.9"),
        (0.9996, "100.0"),
        (0.12345, "12.3"),
        (0.0999, "10.0"),
        (1, "100.0"),
        (0, "0.0"),
    ],
)
def test_percent(value: float | None, written: str) -> None:
    assert percent(value) == written


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [
        (0.358, 0.642, "[35.8, 64.2]"),
        (0.0, 1.0, "[0.0, 100.0]"),
        (0.5, 0.5, "[50.0, 50.0]"),
        (1 / 3, 2 / 3, "[33.3, 66.7]"),
        (None, None, "–"),
        (None, 0.5, "–"),
        (0.5, None, "–"),
        (0.0, 0.0, "[0.0, 0.0]"),
    ],
)
def test_interval(low: float | None, high: float | None, written: str) -> None:
    assert interval(low, high) == written


@pytest.mark.parametrize(
    ("part", "whole", "written"),
    [
        (0, 0, "–"),
        (0, 48, "0.0"),
        (48, 48, "100.0"),
        (1, 3, "33.3"),
        (1419, 1420, "99.9"),
        (1, 1420, "0.1"),
        (5, 100_000, "0.0"),
    ],
)
def test_share(part: int, whole: int, written: str) -> None:
    assert share(part, whole) == written


@pytest.mark.parametrize(
    ("number", "thing", "written"),
    [
        (0, "sample", "0 samples"),
        (1, "sample", "1 sample"),
        (2, "sample", "2 samples"),
        (999, "request", "999 requests"),
        (1000, "request", "1,000 requests"),
        (1_234_567, "request", "1,234,567 requests"),
    ],
)
def test_counted(number: int, thing: str, written: str) -> None:
    assert counted(number, thing) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")],
)
def test_number(value: int | None, written: str) -> None:
    assert number(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0.0, "0.000"),
        (0.0004, "0.000"),
        (0.0123, "0.012"),
        (0.9994, "0.999"),
        (0.9996, "1.000"),
        (1.0, "1.00"),
        (1.234, "1.23"),
        (9.994, "9.99"),
        (9.996, "10.00"),
        (12.34, "12.3"),
        (99.96, "100.0"),
        (123.4, "123"),
        (1234.5678, "1,235"),
    ],
)
def test_seconds(value: float | None, written: str) -> None:
    assert seconds(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0, "$0.00"),
        (1e-9, "<$0.000001"),
        (1e-6, "$0.0000010"),
        (0.0000123, "$0.000012"),
        (0.0042, "$0.0042"),
        (0.00999, "$0.010"),
        (0.0342, "$0.034"),
        (0.1, "$0.10"),
        (0.126, "$0.13"),
        (0.999, "$1.00"),
        (1, "$1.00"),
        (5.0, "$5.00"),
        (12.4, "$12.40"),
        (1234.567, "$1,234.57"),
        (1e6, "$1,000,000.00"),
    ],
)
def test_dollars(value: float | None, written: str) -> None:
    assert dollars(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(None, "–"), (0.0, "≥ $0.00"), (1e-9, "≥ $0.00"), (0.0042, "≥ $0.0042"), (12.4, "≥ $12.40")]
)
def test_dollars_of_which_a_part_is_not_known(value: float | None, written: str) -> None:
    assert dollars(value, at_least=True) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0.0, "0 s"),
        (0.4, "<1 s"),
        (1.0, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (725.0, "12 min 5 s"),
        (3600.0, "1 h"),
        (3605.0, "1 h"),
        (12_000.0, "3 h 20 min"),
        (86_400.0, "1 d"),
        (187_200.0, "2 d 4 h"),
        (1e7, "115 d 17 h"),
    ],
)
def test_duration(value: float | None, written: str) -> None:
    assert duration(value) == written
