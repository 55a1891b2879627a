"""Documents to passages, passages to hits: pure, but for the embeddings that another room fetches."""

from wardround.retrieval.fusion import reciprocal_ranks
from wardround.retrieval.hits import Quality, Spans, quality_of, third_of
from wardround.retrieval.lexical import Lexical
from wardround.retrieval.passages import Passage, passages_of

__all__ = [
    "Lexical",
    "Passage",
    "Quality",
    "Spans",
    "passages_of",
    "quality_of",
    "reciprocal_ranks",
    "third_of",
]
