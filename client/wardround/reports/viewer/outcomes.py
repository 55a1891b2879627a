"""What became of a sample, from its reply, its failure and its scores under the profile it was asked under.

The scores that decide are those of the task's first metric that has a value for each sample. A metric that counts
(kind "proportion") says right or wrong; the value of any other (ROUGE, F1) stands for itself: "scored".
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.errors import WardroundError
from wardround.journal import Cell
from wardround.task import Rules, load_task

# In the order in which they are listed.
OUTCOMES = {
    "right": "the answer is right",
    "wrong": "the answer is wrong",
    "scored": "the answer has a value, such as a ROUGE score, and is neither right nor wrong",
    "unparsed": "the parser could not read the answer",
    "refused": "the model declined, or a content filter withheld the answer",
    "undefined": "the sample has no clear reference, so no score",
    "unscored": "answered but not scored yet, or the task's file is gone",
    "failed": "the request got no reply",
    "not asked": "the request was not sent yet",
}
# These hold beside an outcome, so a list of them overlaps the others.
MARKS = {
    "truncated": "the answer was cut at the token limit",
    "empty": "the answer has no text",
    "shortened": "the prompt had to do without some of its evidence",
}


@dataclass(frozen=True, slots=True)
class Deciding:
    """How a cell's scores are read: the keys of the scores that say whether an answer was parsed and what it is worth.

    `value` is "" where no metric has a value for each sample. `rules` is None, and `remark` says why, where the task
    cannot be loaded: then no answer is right or wrong.
    """

    parsed: str
    value: str
    proportion: bool
    rules: Rules | None
    remark: str = ""


def deciding(cell: Cell) -> Deciding:
    """How the scores of `cell` are read; never raises for a task that is gone or broken."""
    try:
        rules = load_task(cell.task_file, cell.settings).rules(cell.profile)
    except WardroundError as error:
        remark = f"{cell.task}: right and wrong are not known, since its task cannot be loaded: {error}"
        return Deciding("parsed", "", False, None, remark)
    for metric in rules.metrics:
        if metric.kind != "batch" and not metric.by_service:
            return Deciding(metric.parsed, metric.name, metric.kind == "proportion", rules)
    return Deciding(rules.metrics[0].parsed, "", False, rules)


# Of a row with: an answer's facts (f), scores in the journal (p, v, d: parsed, value, refused), scores made here (l).
VALUE = "CASE WHEN p.metric IS NULL THEN l.value ELSE v.value END"
OUTCOME = f"""CASE
  WHEN f.request IS NULL THEN CASE failure WHEN '' THEN 'not asked' WHEN 'content_filter' THEN 'refused'
    ELSE 'failed' END
  WHEN p.metric IS NULL AND coalesce(l.unscorable, 1) THEN 'unscored'
  WHEN CASE WHEN p.metric IS NULL THEN l.refused ELSE d.value END = 1 THEN 'refused'
  WHEN NOT coalesce(CASE WHEN p.metric IS NULL THEN l.parsed ELSE p.value END, 0) THEN 'unparsed'
  WHEN ({VALUE}) IS NULL THEN CASE WHEN :value = '' THEN 'scored' ELSE 'undefined' END
  WHEN :proportion AND ({VALUE}) = 1 THEN 'right'
  WHEN :proportion AND ({VALUE}) = 0 THEN 'wrong'
  ELSE 'scored' END"""
