"""What becomes of tests whose engine was not fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

OF_VLLM = "tests/engines/test_contract.py::test_an_answer_ends_at_its_limit[vllm-openai-chat]"
OF_TRANSFORMERS = "tests/engines/test_transformers.py::test_its_tokens_can_only_be_estimated"


@pytest.mark.parametrize(
    ("required", "ends"),
    [("", "2 skipped"), ("1", "1 skipped, 1 error"), ("all", "2 errors")],
    ids=["none", "those of CI", "all"],
)
def test_tests_whose_engine_is_missing_are_skipped_or_fail_with_the_command_that_fetches_it(
    required: str, ends: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "WARDROUND_ENGINES": str(tmp_path), "WARDROUND_ENGINES_REQUIRED": required}
    command = [sys.executable, "-m", "pytest", "-q", "-rsE", "-p", "no:cacheprovider", OF_VLLM, OF_TRANSFORMERS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if "error" in ends else 0), done.stdout
    assert f"\n{ends} in " in done.stdout
    for engine in ("vllm", "transformers"):
        assert f"{engine} is not there; fetch it with: python -m tests.engines.fetch {engine}" in done.stdout
