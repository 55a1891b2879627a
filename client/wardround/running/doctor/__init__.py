"""The doctor: what an endpoint can do and what it cannot, found out with a few invented prompts before a study."""

from wardround.running.doctor.examining import examine
from wardround.running.doctor.findings import CHECKS, Examination, Finding
from wardround.running.doctor.waiting import wait_for

__all__ = ["CHECKS", "Examination", "Finding", "examine", "wait_for"]
