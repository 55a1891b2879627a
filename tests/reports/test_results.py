"""Intervals of single values: bootstrapped ones are widened for few cases, proportions of samples keep Wilson's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.reports.made_runs import add_answers, task_file
from wardround.journal import Journal
from wardround.reports.results import Result, results_of


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "run") as made:
        yield made


def only(journal: Journal) -> Result:
    (one,) = results_of(journal)
    return one.results[0]


@pytest.mark.parametrize("kind", ["mean", "proportion"])
def test_an_interval_of_few_cases_is_the_expanded_one(journal: Journal, tmp_path: Path, kind: str) -> None:
    """Drawn by hand with another generator; the percentiles are Hesterberg's, by scipy's quantiles."""
    generator = np.random.Generator(np.random.MT19937(3))
    answers = (generator.random((8, 25)) < generator.uniform(0.2, 0.9, (8, 1))).astype(float)
    clusters = [f"patient {place // 25}" for place in range(200)]
    add_answers(journal, task_file(tmp_path, kind=kind), {"a": answers.ravel().tolist()}, clusters=clusters)
    drawn = answers.mean(axis=1)[generator.integers(0, 8, (40_000, 8))].mean(axis=1)
    tail = stats.norm.cdf(-np.sqrt(8 / 7) * stats.t.ppf(0.975, 7))
    assert tail < 0.01
    result = only(journal)
    assert result.value == pytest.approx(answers.mean())
    assert (result.ci_low, result.ci_high) == pytest.approx(np.quantile(drawn, [tail, 1 - tail]), abs=0.02)


def test_a_proportion_of_samples_has_wilsons_interval(journal: Journal, tmp_path: Path) -> None:
    add_answers(journal, task_file(tmp_path), {"a": [1.0] * 13 + [0.0] * 27})
    wanted = stats.binomtest(13, 40).proportion_ci(method="wilson")
    result = only(journal)
    assert (result.ci_low, result.ci_high) == pytest.approx((wanted.low, wanted.high))
