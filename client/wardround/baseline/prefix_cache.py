"""The beginnings of prompts that need not be computed again, kept in blocks as vLLM keeps them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from wardround.text import TOKEN

BLOCK_TOKENS = 16


class PrefixCache:
    """Blocks of tokens, each known by itself and all that stands before it; the longest unused is given up first."""

    def __init__(self, tokens: int) -> None:
        self._capacity = tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self.queries = 0
        self.hits = 0

    def __bool__(self) -> bool:
        return self._capacity > 0

    @property
    def used_tokens(self) -> int:
        """Tokens that are kept."""
        return len(self._blocks) * BLOCK_TOKENS

    def look_up(self, blocks: Sequence[int], prompt_tokens: int) -> int:
        """How many tokens at the prompt's beginning are kept; never all, since the last one must be computed."""
        found = 0
        for block in blocks[: max(0, prompt_tokens - 1) // BLOCK_TOKENS]:
            if block not in self._blocks:
                break
            found += BLOCK_TOKENS
        self.queries += prompt_tokens
        self.hits += found
        return found

    def keep(self, blocks: Sequence[int]) -> None:
        """Keep a prompt's blocks; those at its end are given up before those at its beginning."""
        for block in reversed(blocks[: self._capacity]):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)


def blocks_of(prompt: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """The full blocks of (role, content) pairs, each as a hash of itself and what stands before it."""
    tokens: list[str] = []
    for role, content in prompt:
        first = len(tokens)
        tokens += TOKEN.findall(content)
        if first < len(tokens):
            tokens[first] = f"{role}\x00{tokens[first]}"
    blocks = []
    before = 0
    for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        before = hash((before, *tokens[start : start + BLOCK_TOKENS]))
        blocks.append(before)
    return tuple(blocks)
