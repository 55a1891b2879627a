"""What a comparison of pairs of models and of arms says: plain data, for tables and pages.

The two of a pair are compared on the samples that were planned for both and that both have answered, sample by sample.
An answer that cannot be read is wrong, as in `results`; a sample without a reply is no answer, enters nothing and is
counted. All values are shares from 0 to 1; a difference is the first less the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wardround.statistics import Finding, Tally, Verdict

OWN_ARM = "each task's own"
"""The arm of what goes over several tasks: each in the arm that its study's profile gives it."""

Kind = Literal["models", "arms"]
MARGIN = 0.05
"""Five points: by how much a model may be worse and still count as no worse."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two compared, over the samples that both have answered.

    `n` samples enter `value` (None if it is undefined), `parsed` of them could be read. Of the samples planned for
    both, `failed` have no reply of this side; `cut` prompts of this side's cell were shortened. For a level's mean all
    four are sums over its tasks, and `arm` is `OWN_ARM`.
    """

    model: str
    arm: str
    value: float | None
    n: int
    parsed: int
    failed: int
    cut: int

    @property
    def parse_rate(self) -> float | None:
        """The share of answers that could be read; None if there is none."""
        return self.parsed / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class PublishedPair:
    """What a paper printed for the two models of a pair, as shares; None where it has no figure for one of them."""

    paper: str
    version: str
    metric: str
    first: float | None
    second: float | None
    source_url: str

    @property
    def difference(self) -> float | None:
        """The first less the second; None if one is missing."""
        return None if self.first is None or self.second is None else self.first - self.second


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models in one arm, or two arms of one model, on one task's first metric or on a level's mean.

    `task` is the task's label in the study ("Level 1" for a mean, with `level` set), `task_name` its own name ("" for a
    mean). `n` samples were answered by both, in `clusters` independent cases (as many as samples where none are
    named); `unpaired` were planned for one side alone, `failed` for both but lack a reply of at least one.

    `low` and `high` are the 95 % interval of `difference`, None where nothing is known of the spread. `test` names what
    gave `p`; `p_adjusted` is Holm's over the family of all comparisons with a p. `detectable` is the difference that
    would be called one with a probability of 80 %, at the level that Holm leaves to this comparison, and
    `detectable_alone` at 5 %, were it the only one; None if not even a difference of 1 would. `tally` counts samples on
    which the first is better, as good, and worse (None where a metric has no value a sample). `words` is the verdict
    as it is to be read.
    """

    kind: Kind
    task: str
    task_name: str
    level: int | None
    metric: str
    profile: str
    first: Side
    second: Side
    n: int
    clusters: int
    clustered: bool
    unpaired: int
    failed: int
    difference: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    test: str | None
    p: float | None
    p_adjusted: float | None
    detectable: float | None
    detectable_alone: float | None
    tally: Tally | None
    verdict: Verdict
    words: str
    published: tuple[PublishedPair, ...] = ()

    @property
    def finding(self) -> Finding:
        """What is said of the first."""
        return self.verdict.finding


@dataclass(frozen=True, slots=True)
class Standing:
    """A pair over its tasks in one arm, or in each task's own arm (`OWN_ARM`); levels' means do not count.

    `higher`, `equal` and `lower` count tasks by the bare values, as papers do; `better` and `worse` those where a
    difference is shown, `non_inferior` those where none is shown but the margin is kept, equivalence included.
    """

    kind: Kind
    first_model: str
    first_arm: str
    second_model: str
    second_arm: str
    tasks: int
    higher: int
    equal: int
    lower: int
    better: int
    worse: int
    non_inferior: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """The models of a task and arm from the highest value to the lowest, and how sure that order is.

    `ranks[i][k]` is the share of resamples in which model i takes rank k (0 is the first), `before[i][j]` that in which
    i stands before j; see `statistics.ranks`. Each model is valued over its own `n[i]` answered samples.
    """

    task: str
    arm: str
    metric: str
    models: tuple[str, ...]
    values: tuple[float, ...]
    n: tuple[int, ...]
    ranks: tuple[tuple[float, ...], ...]
    before: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Comparisons:
    """All comparisons of a run, in the order: pair, task, arm; a level's mean follows the tasks.

    `family` is the number of tests that Holm's adjustment goes over. `remarks` are what a reader must know, a line
    each.
    """

    study: str
    profiles: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    standings: tuple[Standing, ...]
    rankings: tuple[Ranking, ...]
    family: int
    margin: float
    resamples: int
    swaps: int
    seed: int
    remarks: tuple[str, ...]
