"""The index's own tables, and how they are filled from the journal, which is attached as `run`.

A row's `rank` is its cell's place in the study × 2³² + its position in the cell: the order of the study.
The index `counted` has all that lists are filtered by, so that counting reads nothing else. Words are kept without the
texts (FTS5, contentless): of prompts by their `number` here, of answers and reasoning by request, of references by
sample.
"""

from __future__ import annotations

from wardround.journal.records import ANSWERS
from wardround.reports.viewer.outcomes import OUTCOME, VALUE

WORDS = ("prompt_words", "answer_words", "reasoning_words", "reference_words")
TABLES = """
CREATE TABLE listed (
  rank INTEGER PRIMARY KEY, cell INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,
  sample INTEGER NOT NULL, request INTEGER NOT NULL, prompt INTEGER NOT NULL, outcome TEXT NOT NULL, value REAL,
  failure TEXT NOT NULL, truncated INTEGER NOT NULL, empty INTEGER NOT NULL, shortened INTEGER NOT NULL,
  e2e_ns INTEGER, output_tokens INTEGER);
CREATE INDEX listed_by_name ON listed (name, cell);
CREATE INDEX counted ON listed (
  outcome, truncated, empty, shortened, cell, value, e2e_ns, output_tokens, prompt, request, sample);
CREATE INDEX unscored ON listed (rank) WHERE outcome = 'unscored';
CREATE TABLE facts (
  request INTEGER PRIMARY KEY, truncated INTEGER NOT NULL, empty INTEGER NOT NULL, e2e_ns INTEGER,
  output_tokens INTEGER, worded INTEGER NOT NULL);
CREATE INDEX unworded ON facts (request) WHERE NOT worded;
CREATE TABLE prompts (number INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE);
CREATE TABLE late (
  cell INTEGER NOT NULL, position INTEGER NOT NULL, parsed REAL, value REAL, refused REAL, unscorable INTEGER NOT NULL,
  PRIMARY KEY (cell, position)) WITHOUT ROWID;
""" + "".join(
    f"CREATE VIRTUAL TABLE {name} USING"
    " fts5(body, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2');\n"
    for name in WORDS
)

# Of the samples of :cell from :low on and below :high. Replies never change, so each is looked at once.
PROMPTS = """
INSERT OR IGNORE INTO prompts (hash) SELECT requests.prompt FROM run.asks JOIN run.requests ON requests.id = request
WHERE cell = :cell AND position >= :low AND position < :high"""
FACTS = f"""
INSERT OR IGNORE INTO facts
SELECT asks.request, coalesce(r.finish_reason = 'length', 0), trim(r.text, char(9, 10, 11, 12, 13, 32)) = '',
  r.done_ns - r.sent_ns, r.output_tokens, 0
FROM run.asks CROSS JOIN run.replies r ON r.request = asks.request AND {ANSWERS}
WHERE asks.cell = :cell AND asks.position >= :low AND asks.position < :high
  AND NOT EXISTS (SELECT 1 FROM facts WHERE facts.request = asks.request)"""
LISTED = f"""
INSERT OR REPLACE INTO listed
SELECT (:place << 32) | x.position, :cell, x.position, s.sample, x.sample, x.request, n.number,
  {OUTCOME}, CASE WHEN f.request IS NOT NULL THEN {VALUE} END, CASE WHEN f.request IS NULL THEN failure ELSE '' END,
  coalesce(f.truncated, 0), coalesce(f.empty, 0), x.shortened, f.e2e_ns, f.output_tokens
FROM (
  SELECT position, sample, request, cut IS NOT NULL AS shortened, coalesce((SELECT kind FROM run.failures
      WHERE failures.request = asks.request AND final ORDER BY id DESC LIMIT 1), '') AS failure
  FROM run.asks WHERE cell = :cell AND position >= :low AND position < :high) x
CROSS JOIN run.samples s ON s.id = x.sample
CROSS JOIN run.requests q ON q.id = x.request
CROSS JOIN prompts n ON n.hash = q.prompt
LEFT JOIN facts f ON f.request = x.request
LEFT JOIN run.scores p ON p.cell = :cell AND p.profile = :profile AND p.position = x.position AND p.metric = :parsed
LEFT JOIN run.scores v ON v.cell = :cell AND v.profile = :profile AND v.position = x.position AND v.metric = :value
LEFT JOIN run.scores d ON d.cell = :cell AND d.profile = :profile AND d.position = x.position AND d.metric = 'refused'
LEFT JOIN late l ON l.cell = :cell AND l.position = x.position"""

UNWORDED_ANSWERS = """
SELECT facts.request, text, reasoning FROM facts JOIN run.replies ON replies.request = facts.request WHERE NOT worded"""
UNWORDED_REFERENCES = "SELECT id, body FROM run.samples WHERE id > ? ORDER BY id"
UNWORDED_PROMPTS = """
SELECT number, body FROM main.prompts AS known JOIN run.prompts AS kept ON kept.hash = known.hash
WHERE number > ? ORDER BY number"""

# What of the journal the tables stand for; when it changes, they are made anew. A run that goes on says when it began.
STATE = """
SELECT group_concat(fact, char(10)) FROM (
  SELECT value AS fact FROM run.manifest WHERE key = 'last_started_at'
  UNION ALL SELECT id || ' ' || place || ' ' || digest FROM run.cells WHERE place IS NOT NULL)"""
