"""Tables over a journal; no server and no data file is needed."""

from wardround.reports.export import export_run
from wardround.reports.results import CellResults, Counts, Result, results_of
from wardround.reports.summary import clue_means, published_beside, what_it_took
from wardround.reports.table import as_json, as_text
from wardround.reports.usage import RunUsage, Usage, usage_of

__all__ = [
    "CellResults",
    "Counts",
    "Result",
    "RunUsage",
    "Usage",
    "as_json",
    "as_text",
    "clue_means",
    "export_run",
    "published_beside",
    "results_of",
    "usage_of",
    "what_it_took",
]
