"""Comparisons against other ways to the same numbers: scipy, enumeration, resampling by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.reports.made_runs import FAILED, SKIPPED, Answer, add_answers, task_file, tell_study
from wardround.errors import JournalError, WrongUse
from wardround.journal import Journal
from wardround.reports.comparing import OWN_ARM, Comparison, compare_run
from wardround.reports.results import results_of
from wardround.statistics import Finding


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "run") as made:
        yield made


def only(journal: Journal, *pairs: str, **options: float) -> Comparison:
    """The one comparison of a run."""
    (one,) = compare_run(journal, pairs=pairs or ("a:b",), **options).comparisons  # type: ignore[arg-type]
    return one


def with_discordant(n: int, wins: int, losses: int) -> tuple[list[float], list[float]]:
    """Right and wrong of two, differing on so many samples of n."""
    ties = n - wins - losses
    return [1.0] * wins + [0.0] * losses + [1.0] * ties, [0.0] * wins + [1.0] * losses + [1.0] * ties


@pytest.mark.parametrize(("wins", "losses"), [(14, 5), (0, 7), (12, 12), (31, 11)])
def test_accuracies_are_tested_by_the_binomial_test_of_the_discordant(
    journal: Journal, tmp_path: Path, wins: int, losses: int
) -> None:
    first, second = with_discordant(80, wins, losses)
    add_answers(journal, task_file(tmp_path), {"a": first, "b": second})
    one = only(journal)
    assert one.p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
    assert one.test == "McNemar, exact"
    assert one.difference == pytest.approx((wins - losses) / 80)
    assert one.tally is not None
    assert (one.tally.wins, one.tally.ties, one.tally.losses) == (wins, 80 - wins - losses, losses)
    assert (one.n, one.clusters, one.clustered) == (80, 80, False)


def scores(n: int, seed: int) -> tuple[list[float], list[float]]:
    generator = np.random.default_rng(seed)
    first = generator.uniform(0.2, 0.9, n)
    return first.tolist(), np.clip(first - generator.normal(0.05, 0.15, n), 0, 1).tolist()


def test_means_are_tested_by_all_swaps(journal: Journal, tmp_path: Path) -> None:
    first, second = scores(12, 3)
    add_answers(journal, task_file(tmp_path, kind="mean"), {"a": first, "b": second})
    one = only(journal)
    other = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples", n_resamples=np.inf
    )
    assert one.p == pytest.approx(other.pvalue)
    assert one.test == "swap test"


def test_clusters_are_swapped_as_a_whole(journal: Journal, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    clusters = [f"patient {number // 6}" for number in range(42)]
    strength = np.repeat(generator.uniform(0.2, 0.9, 7), 6)
    first = (generator.random(42) < strength).astype(float)
    second = (generator.random(42) < strength - 0.2).astype(float)
    add_answers(journal, task_file(tmp_path), {"a": first.tolist(), "b": second.tolist()}, clusters=clusters)
    one = only(journal)
    sums = (first - second).reshape(7, 6).sum(axis=1)
    swapped = [abs(float(np.dot(signs, sums))) for signs in itertools.product((-1, 1), repeat=7)]
    assert one.p == pytest.approx(np.mean(np.array(swapped) >= abs(sums.sum()) - 1e-9))
    assert (one.clusters, one.clustered, one.n) == (7, True, 42)
    assert "clusters" in (one.test or "")


def test_a_statistic_of_all_answers_is_swapped_too(journal: Journal, tmp_path: Path) -> None:
    gold = [0, 1, 1, 0, 1, 0, 0, 1, 1, 1]
    first: list[Answer] = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, None, 1.0]
    second: list[Answer] = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    add_answers(journal, task_file(tmp_path, kind="batch"), {"a": first, "b": second}, references=gold)
    one = only(journal)

    def f1(said: Sequence[Answer]) -> float:
        found = []
        for label in (0, 1):
            both = sum(answer == label == right for answer, right in zip(said, gold, strict=True))
            found.append(2 * both / (sum(answer == label for answer in said) + gold.count(label)))
        return float(np.mean(found))

    observed = f1(first) - f1(second)
    extreme = 0
    for swaps in itertools.product((False, True), repeat=10):
        mixed = [(b, a) if swap else (a, b) for a, b, swap in zip(first, second, swaps, strict=True)]
        extreme += abs(f1([a for a, _ in mixed]) - f1([b for _, b in mixed])) >= abs(observed) - 1e-12
    assert one.difference == pytest.approx(observed)
    assert one.p == pytest.approx(extreme / 2**10)
    assert one.tally is None
    assert one.first.parsed == 9


def resampled_by_hand(differences: np.ndarray, clusters: int, draws: int = 20_000) -> tuple[float, float]:
    """Percentiles of the mean over resampled clusters of one size, with another generator than ours."""
    generator = np.random.Generator(np.random.MT19937(11))
    means = differences.reshape(clusters, -1).mean(axis=1)
    drawn = means[generator.integers(0, clusters, (draws, clusters))].mean(axis=1)
    # The expanded percentiles, by scipy's quantiles.
    tail = stats.norm.cdf(-np.sqrt(clusters / (clusters - 1)) * stats.t.ppf(0.975, clusters - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


@pytest.mark.parametrize("cluster_size", [1, 10])
def test_intervals_are_those_of_whole_clusters_drawn_by_hand(
    journal: Journal, tmp_path: Path, cluster_size: int
) -> None:
    first, second = scores(200, 8)
    clusters = [f"c{place // cluster_size}" for place in range(200)] if cluster_size > 1 else None
    add_answers(journal, task_file(tmp_path, kind="mean"), {"a": first, "b": second}, clusters=clusters)
    one = only(journal)
    expected = resampled_by_hand(np.array(first) - np.array(second), 200 // cluster_size)
    assert (one.low, one.high) == pytest.approx(expected, abs=0.002)


def test_holm_goes_over_all_that_is_compared(journal: Journal, tmp_path: Path) -> None:
    for name, (wins, losses) in {"one": (30, 10), "two": (20, 8), "three": (12, 9)}.items():
        first, second = with_discordant(100, wins, losses)
        add_answers(journal, task_file(tmp_path, name), {"a": first, "b": second})
    made = compare_run(journal, pairs=["a:b"])
    p = [stats.binomtest(30, 40).pvalue, stats.binomtest(20, 28).pvalue, stats.binomtest(12, 21).pvalue]
    assert [one.p for one in made.comparisons] == pytest.approx(p)
    assert [one.p_adjusted for one in made.comparisons] == pytest.approx([3 * p[0], 2 * p[1], p[2]])
    assert made.family == 3
    assert [one.finding for one in made.comparisons[:1]] == [Finding.BETTER]


def test_what_could_be_seen_counts_with_the_rest_of_the_family(journal: Journal, tmp_path: Path) -> None:
    """140 samples of which 18 % differ see 10 points at 5 % by Miettinen's formula; 25 differ here."""
    first, second = with_discordant(140, 13, 12)
    add_answers(journal, task_file(tmp_path, "one"), {"a": first, "b": second})
    alone = only(journal)
    assert alone.detectable == alone.detectable_alone
    assert alone.detectable == pytest.approx(0.10, abs=0.002)
    assert alone.words == "no difference shown; the study could see 9.9 points"
    add_answers(journal, task_file(tmp_path, "two"), {"a": first, "b": second})
    for one in compare_run(journal, pairs=["a:b"]).comparisons:
        assert one.detectable_alone == alone.detectable
        assert (one.detectable or 0) > 0.105


def test_unreadable_answers_are_wrong_and_lower_the_parse_rate(journal: Journal, tmp_path: Path) -> None:
    add_answers(journal, task_file(tmp_path), {"a": [1.0, None, None, 1.0], "b": [1.0, 1.0, 0.0, 1.0]})
    one = only(journal)
    assert (one.first.value, one.first.n, one.first.parsed, one.first.parse_rate) == (0.5, 4, 2, 0.5)
    assert one.second.parse_rate == 1.0
    assert one.failed == 0


def test_samples_without_a_reply_enter_nothing_and_are_counted(journal: Journal, tmp_path: Path) -> None:
    first: list[Answer] = [1.0, FAILED, 1.0, 0.0, FAILED, 1.0]
    second: list[Answer] = [1.0, 1.0, 0.0, 0.0, FAILED, FAILED]
    add_answers(journal, task_file(tmp_path), {"a": first, "b": second})
    made = compare_run(journal, pairs=["a:b"])
    (one,) = made.comparisons
    assert (one.n, one.failed, one.unpaired) == (3, 3, 0)
    assert (one.first.failed, one.second.failed) == (2, 2)
    assert (one.first.value, one.second.value) == pytest.approx((2 / 3, 1 / 3))
    assert one.tally is not None
    assert one.tally.wins == 1
    assert any("INCOMPLETE" in remark for remark in made.remarks)


def test_samples_planned_for_one_side_alone_are_unpaired(journal: Journal, tmp_path: Path) -> None:
    first: list[Answer] = [1.0, SKIPPED, 1.0, 0.0]
    second: list[Answer] = [1.0, 1.0, SKIPPED, 1.0]
    add_answers(journal, task_file(tmp_path), {"a": first, "b": second})
    one = only(journal)
    assert (one.n, one.unpaired, one.failed) == (2, 2, 0)
    assert (one.first.value, one.second.value) == (0.5, 1.0)


def test_few_pairs_of_many_planned_have_the_interval_of_few(journal: Journal, tmp_path: Path) -> None:
    """The 40 that both answered count as 40 cases, though 400 were planned and are resampled together."""
    first, second = scores(40, 4)
    whole: list[Answer] = [*second, *[0.5] * 360]
    add_answers(journal, task_file(tmp_path, kind="mean"), {"a": [*first, *[FAILED] * 360], "b": whole})
    one = only(journal)
    assert one.clusters == 40
    expected = resampled_by_hand(np.array(first) - np.array(second), 40)
    assert (one.low, one.high) == pytest.approx(expected, abs=0.006)


def test_a_pair_without_a_common_answer_is_not_tested(journal: Journal, tmp_path: Path) -> None:
    add_answers(journal, task_file(tmp_path), {"a": [1.0, FAILED], "b": [FAILED, 1.0]})
    one = only(journal)
    assert one.words == "not tested; no sample was answered by both"
    assert (one.p, one.difference, one.first.value, one.detectable) == (None, None, None, None)


def test_a_metric_of_two_sources_is_not_compared(journal: Journal, tmp_path: Path) -> None:
    path = Path(task_file(tmp_path))
    path.write_text(path.read_text().replace('Metric("score", "proportion")', 'Metric("f", by_service=True)'))
    add_answers(journal, str(path), {"a": [1.0, 1.0], "b": [1.0, 1.0]})
    for cell, source in zip(journal.cells(), ("scibert", "other"), strict=True):
        journal.add_scores(cell.id, "strict", [(place, {f"f[{source}]": 0.5}) for place in (0, 1)])
    one = only(journal)
    assert one.finding is Finding.NOT_TESTED
    assert one.difference is None


@pytest.mark.parametrize(("n", "words"), [(400, "equivalent at 5 points"), (12, "no difference shown; the study")])
def test_all_ties_are_equivalent_only_where_there_are_enough(
    journal: Journal, tmp_path: Path, n: int, words: str
) -> None:
    add_answers(journal, task_file(tmp_path), {"a": [1.0] * n, "b": [1.0] * n})
    one = only(journal)
    assert (one.difference, one.p) == (0.0, 1.0)
    assert one.words.startswith(words)
    assert one.low is not None
    assert one.high is not None
    assert one.low < 0 < one.high


@pytest.mark.parametrize("kind", ["proportion", "mean"])
def test_a_single_case_shows_nothing(journal: Journal, tmp_path: Path, kind: str) -> None:
    file = task_file(tmp_path, kind=kind)
    add_answers(journal, file, {"a": [1.0, 1.0], "b": [0.0, 1.0]}, clusters=["one", "one"])
    one = only(journal)
    assert (one.difference, one.low, one.high, one.p) == (0.5, None, None, 1.0)
    assert one.words == "no difference shown; the study is too small to see any"


def test_so_few_clusters_that_no_swap_is_rare_see_nothing(journal: Journal, tmp_path: Path) -> None:
    clusters = [f"c{place // 10}" for place in range(50)]
    add_answers(journal, task_file(tmp_path), {"a": [1.0] * 50, "b": [0.0] * 50}, clusters=clusters)
    one = only(journal)
    assert one.p == pytest.approx(2 / 2**5)
    assert one.detectable is None
    assert one.words == "no difference shown; the study is too small to see any"


def test_a_margin_is_judged_from_six_cases_on(tmp_path: Path) -> None:
    def words(cases: int) -> str:
        clusters = [f"c{place // 10}" for place in range(10 * cases)]
        folder = tmp_path / str(cases)
        folder.mkdir()
        with Journal.create(folder) as made:
            both = {"a": [1.0] * 10 * cases, "b": [1.0, *[0.0] * 9] * cases}
            add_answers(made, task_file(folder), both, clusters=clusters)
            return only(made).words

    # All cases lean the first's way by 90 points: of five no more can be said, since five may do so by chance.
    assert words(5) == "no difference shown; the study is too small to see any"
    assert words(6) in ("better", "non-inferior at 5 points")


def test_a_model_that_says_nothing_keeps_no_margin_beside_one_that_knows_next_to_nothing(
    journal: Journal, tmp_path: Path
) -> None:
    add_answers(journal, task_file(tmp_path), {"a": [0.0] * 200, "b": [1.0] * 2 + [0.0] * 198})
    assert only(journal).words.startswith("no difference shown")
    assert only(journal, "b:a").words.startswith("no difference shown")


def test_verdicts_speak_of_the_first(journal: Journal, tmp_path: Path) -> None:
    first, second = with_discordant(200, 5, 40)
    add_answers(journal, task_file(tmp_path), {"a": first, "b": second})
    assert only(journal, "a:b").words == "worse"
    assert only(journal, "b:a").words == "better"
    assert only(journal, "a:b", margin=0.3).words == "worse, but non-inferior at 30 points"
    assert only(journal, "a:b").difference == -(only(journal, "b:a").difference or 0)


@pytest.mark.parametrize("margin", [0.0, -0.05, 1.0, float("nan")])
def test_a_margin_that_is_none_is_refused(journal: Journal, tmp_path: Path, margin: float) -> None:
    add_answers(journal, task_file(tmp_path), {"a": [1.0], "b": [1.0]})
    with pytest.raises(WrongUse, match=r"margin of .* points is none"):
        compare_run(journal, pairs=["a:b"], margin=margin)


def test_values_and_parse_rates_are_those_of_the_results_table(journal: Journal, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    answers = {name: [*generator.choice([0.0, 1.0], 30).tolist(), None] for name in ("a", "b")}
    clusters = [f"c{place // 4}" for place in range(31)]
    for kind in ("proportion", "mean", "batch"):
        file = task_file(tmp_path, kind, kind)
        add_answers(journal, file, answers, clusters=clusters, references=[place % 2 for place in range(31)])
    table = {(one.cell.model, one.cell.task): one.results[0] for one in results_of(journal)}
    for one in compare_run(journal, pairs=["a:b"]).comparisons:
        for side in (one.first, one.second):
            result = table[side.model, one.task]
            assert side.value == pytest.approx(result.value)
            assert (side.n, side.parsed, one.metric) == (result.n, result.parsed, result.metric)


def test_what_else_is_compared_changes_neither_interval_nor_p(journal: Journal, tmp_path: Path) -> None:
    answers = dict(zip("abcd", [*scores(60, 1), *scores(60, 2)], strict=True))
    add_answers(journal, task_file(tmp_path, kind="mean"), answers)
    alone = only(journal, "a:b")
    among = compare_run(journal, pairs=["c:d", "a:b", "a:c"]).comparisons[1]
    assert (alone.low, alone.high, alone.p) == (among.low, among.high, among.p)
    assert compare_run(journal, pairs=["c:d", "a:b"]) == compare_run(journal, pairs=["c:d", "a:b"])
    assert only(journal, "a:b", seed=1) != alone


def test_a_run_that_is_not_scored_under_a_profile_says_how_to(journal: Journal, tmp_path: Path) -> None:
    add_answers(journal, task_file(tmp_path), {"a": [1.0], "b": [1.0]})
    with pytest.raises(JournalError, match="not scored under 'clue'; first: wardround score"):
        compare_run(journal, profile="clue", pairs=["a:b"])


def test_a_pair_over_its_tasks_by_values_and_by_what_is_shown(journal: Journal, tmp_path: Path) -> None:
    for name, (wins, losses) in {"one": (40, 5), "two": (3, 2), "three": (0, 0), "four": (2, 3)}.items():
        first, second = with_discordant(300, wins, losses)
        add_answers(journal, task_file(tmp_path, name), {"a": first, "b": second})
    (standing,) = compare_run(journal, pairs=["a:b"]).standings
    assert (standing.tasks, standing.higher, standing.equal, standing.lower) == (4, 2, 1, 1)
    assert (standing.better, standing.worse, standing.non_inferior) == (1, 0, 3)
    assert (standing.first_model, standing.first_arm) == ("a", OWN_ARM)


def test_the_order_of_models_is_told_with_how_sure_it_is(journal: Journal, tmp_path: Path) -> None:
    answers = {
        "weak": [0.0] * 90 + [1.0] * 10,
        "strong": [1.0] * 95 + [0.0] * 5,
        "other": [1.0] * 94 + [0.0] * 6,
    }
    add_answers(journal, task_file(tmp_path), answers)
    tell_study(journal, pairs=[["strong", "weak"]])
    (ranking,) = compare_run(journal).rankings
    assert ranking.models == ("strong", "other", "weak")
    assert ranking.values == pytest.approx((0.95, 0.94, 0.1))
    assert ranking.ranks[2] == pytest.approx((0, 0, 1))
    assert np.sum(ranking.ranks, axis=0) == pytest.approx(1)
    assert 0.5 < ranking.before[0][1] < 1
    assert ranking.n == (100, 100, 100)
