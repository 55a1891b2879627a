"""All benchmarks, one after another, each in a process of its own: `python -m tests.benchmarks [NAME …] [--peers] [--json FILE]`.

Prints one table and the machine, and with --json writes the same. A benchmark that cannot run (its engine is not there,
a package is missing) is said and left out; the exit code is 1 if one failed or a goal is not met. With --peers those
that have peers install them, each into an environment of its own below `.peers/`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure, machine, table

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
# Those that take the options of `figures`, quickest first, and which of them have peers.
NAMES = ("scoring", "ordering", "asking", "prefixes", "retrieval", "page", "load")
WITH_PEERS = frozenset({"asking", "scoring", "load"})


def run(name: str, peers: bool) -> tuple[list[Figure], str]:
    """The figures of one benchmark, and what went wrong, "" if nothing did."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "figures.json"
        command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--json", str(out)]
        done = subprocess.run([*command, *(["--peers"] if peers and name in WITH_PEERS else [])], cwd=ROOT, check=False)
        if out.exists():
            return figures_in(json.loads(out.read_text(encoding="utf-8"))), ""
    return [], f"{name} gave no figures (exit code {done.returncode})"


def figures_in(content: dict[str, Any]) -> list[Figure]:
    """What `figures.report` wrote."""
    return [Figure(**{key: value for key, value in one.items() if key != "met"}) for one in content.get("figures", [])]


def main() -> int:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--peers", action="store_true", help="also peers, installed below .peers/")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if not (FOLDER / f"{name}.py").exists()]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    figures: list[Figure] = []
    wrong: list[str] = []
    for name in arguments.names or NAMES:
        print(f"\n{name}:", flush=True)
        found, words = run(name, arguments.peers)
        figures += found
        wrong += [words] if words else []
    about = machine()
    print("\n" + ", ".join(f"{key} {value}" for key, value in about.items()) + "\n")
    print(table(figures))
    for words in wrong:
        print(words, file=sys.stderr)
    if arguments.json is not None:
        from dataclasses import asdict

        content = {"machine": about, "figures": [{**asdict(one), "met": one.met} for one in figures], "wrong": wrong}
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(bool(wrong) or any(one.met is False for one in figures))


if __name__ == "__main__":
    sys.exit(main())
