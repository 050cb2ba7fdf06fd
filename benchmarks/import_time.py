"""How long importing lalora takes beyond what a script that uses it imports anyway; and what `lalora --version` takes.

    python benchmarks/import_time.py

Each time is measured in a fresh process, right after the imports that it is compared with; all ways in turns.
"""

from __future__ import annotations

import argparse
import compileall
import statistics
import subprocess
import sys
import time
from pathlib import Path

from output import publish, table

import lalora

BEFORE = "import torch, transformers"
USUAL = (
    "import torch, peft; from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, Trainer, "
    "TrainingArguments"
)
EVERYTHING = "import lalora; [getattr(lalora, name) for name in lalora.__all__]"
WAYS = {
    "`import lalora`, after torch and transformers": (BEFORE, "import lalora"),
    "`import lalora`, after torch, peft and the Trainer": (USUAL, "import lalora"),
    "every public name of lalora, after torch, peft and the Trainer": (USUAL, EVERYTHING),
}
MOST_S = 0.3
TIMED = """
import time
start = time.perf_counter()
{before}
middle = time.perf_counter()
{then}
print(middle - start, time.perf_counter() - middle)
"""


def imported(before: str, then: str) -> tuple[float, float]:
    """Seconds of the imports before, and of those of lalora."""
    code = TIMED.format(before=before, then=then)
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    first, second = map(float, printed.split())
    return first, second


def version() -> float:
    """Seconds of `lalora --version`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lalora", "--version"], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    compileall.compile_dir(Path(lalora.__file__).parent, quiet=1)  # as pip does when it installs
    version()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    versions = []
    for _ in range(rounds):
        for name, (before, then) in WAYS.items():
            times[name].append(imported(before, then))
        versions.append(version())
    rows, data = [], {}
    for name, pairs in times.items():
        before, extra = (statistics.median(column) for column in zip(*pairs, strict=True))
        rows.append([name, f"{before:.2f} s", f"{extra:.3f} s", f"{(before + extra) / before:.3f}"])
        data[name] = {"before_s": before, "lalora_s": extra, "all_s": [list(pair) for pair in pairs]}
    told = statistics.median(versions)
    data["`lalora --version`"] = {"whole_s": told, "all_s": versions}
    head = ["medians", "what comes before", "lalora on top", "both over what comes before"]
    publish("import_time", f"{table(head, rows)}\n\n`lalora --version`: {told:.2f} s", data)
    slowest = max(one["lalora_s"] for one in data.values() if "lalora_s" in one)
    if slowest > MOST_S:
        sys.exit(f"importing lalora takes {slowest:.2f} s on top, more than {MOST_S} s")


if __name__ == "__main__":
    main()
