"""What a plan of which no model is asked cannot know, and what stands in its place: of a dry run, of a load test."""

from __future__ import annotations

from collections.abc import Sequence

from wardround.running.evidence import arms_of
from wardround.running.preparing import Prepared
from wardround.study import Arm, Study


def stand_ins(study: Study, prepared: Sequence[Prepared], *, searched: bool = False) -> list[str]:
    """A line for each way in which the plan's prompts are not those that a run would send; none where they are.

    `searched`: the services of embedding and reranking were asked, as in a run.

    Passages that words find are as long as those that an embedding service finds, so that tokens, money and load are
    reckoned alike; which passages they are matters to the answers alone.
    """
    arms = {arm.name: arm for one in prepared for arm in arms_of(study, one)}.values()
    lines = []
    if not searched and (embedded := [arm for arm in arms if arm.embeds]):
        lines.append(f"{_named(embedded)}: with what bm25 finds in the place of what the embedding service would")
    if not searched and (reranked := [arm for arm in arms if arm.rerank]):
        lines.append(f"{_named(reranked)}: in the order of the first search, not of the reranking service")
    if two_step := [arm for arm in arms if arm.evidence == "two-step"]:
        lines.append(
            f"{_named(two_step)}: the first questions alone; as many second ones follow, each the task's own prompt and"
            f" up to {max(arm.evidence_tokens or 0 for arm in two_step):,} tokens of what the answers have found"
        )
    return lines


def _named(arms: Sequence[Arm]) -> str:
    return f"arm {arms[0].name}" if len(arms) == 1 else f"arms {', '.join(arm.name for arm in arms)}"
