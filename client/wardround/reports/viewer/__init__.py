"""The viewer: a local page over a run's journal, read only, for the eyes of the run's owner.

reading     one sample out of the journal, which is opened so that it cannot be written to
outcomes    what became of a sample: right, wrong, unparsed, refused, failed, …
filters     which samples are listed, from and to the words of an address
index       a table of all samples and a word index of their texts, private to the process
keeping     the thread that keeps the index in step with a run that is still writing
shown       text from outside as text, whatever stands in it
listing, sample, frame      the pages
server      addresses, the token, the checks
"""

from wardround.reports.viewer.server import serve_viewer

__all__ = ["serve_viewer"]
