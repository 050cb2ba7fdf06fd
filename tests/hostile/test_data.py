"""Data files from strangers, mutated: their rows are read, or one line names the file and the row."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pandas
import pytest
import zstandard

from hostile.sandbox import Sandbox

SHORT, LONG, BATCH = 60, 1500, 20
_MEMORY = 400 * 2**20

ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [{"question": f"How much is {n} and one?", "answer": f"{n + 1} #### {n + 1}"} for n in range(12)],
    "winogrande": [
        {"sentence": f"the {n} sat so _ was glad", "option1": "cat", "option2": "dog", "answer": "1"} for n in range(12)
    ],
    "arc_challenge": [
        {"id": str(n), "question": f"Which is {n}?", "choices": {"text": ["a", "b"], "label": ["A", "B"]},
         "answerKey": "A"}
        for n in range(12)
    ],
    "lambada": [{"text": f"the {n} cat sat on the mat"} for n in range(12)],
}  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 1, 10**40, 1.5, 1e308, "", " ", "\x00", "\ud800", "\u202e", "x" * 10**5, "=1+1",
    [], [[]], ["a"], {}, {"text": []}, {"text": ["a"], "label": []}, {"text": None, "label": "A"}, "A", "1", "#### ",
    "_", "_ _", "{{x}}", "{% for %}", float("nan"), float("inf"),
]  # fmt: skip
BYTES = [
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n\n\n", b'"', b"}", b"{", b"[", b",", b"\\u", b"9" * 400, b"\x1b[2J",
]  # fmt: skip


def with_odd_values(domain: str, chance: random.Random) -> list[Any]:
    rows: list[Any] = json.loads(json.dumps(ROWS[domain]))
    for _ in range(chance.choice([0, 1, 1, 2, 12])):
        number = chance.randrange(len(rows))
        row, column = rows[number], chance.choice(list(ROWS[domain][0]))
        if not isinstance(row, dict):
            continue
        how = chance.choice(["set", "set", "set", "drop", "rename", "replace", "again"])
        if how == "set":
            row[column] = chance.choice(VALUES)
        elif how == "drop":
            row.pop(column, None)
        elif how == "rename":
            row[str(chance.choice(VALUES))[:40]] = row.pop(column, 1)
        elif how == "replace":
            rows[number] = chance.choice(VALUES)
        else:
            rows.append(dict(row))
    return rows


def encoded(rows: list[Any], kind: str) -> bytes:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == ".jsonl.gz":
        return gzip.compress(lines)
    if kind == ".jsonl.zst":
        return zstandard.compress(lines)
    if kind == ".json":
        return json.dumps(rows).encode()
    if kind == ".jsonl":
        return lines
    sound = json.loads(json.dumps(rows).replace("\\ud800", "?"))  # tables hold no halves of surrogate pairs
    table = pandas.DataFrame([row if isinstance(row, dict) else {"row": str(row)} for row in sound])
    if kind == ".csv":
        return table.to_csv(index=False).encode()
    out = io.BytesIO()
    table.map(str).to_parquet(out)
    return out.getvalue()


def damaged(content: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice([0, 0, 1, 3])):
        where = chance.randrange(len(content) + 1)
        cut = chance.choice([0, 0, 1, 5, 10**6])
        content = content[:where] + chance.choice(BYTES) + content[where + cut :]
    return content


def judge(seeds: list[int], folder: str) -> list[tuple[int, str, str]]:
    """Loads the file of each seed, words its rows, and says how that ended."""
    from lalora.cli.main import _line_and_status
    from lalora.domains.load import load_domain
    from lalora.domains.prompts import examples

    found = []
    for seed in seeds:
        chance = random.Random(seed)
        domain = chance.choice(list(ROWS))
        kind = chance.choice([".jsonl"] * 5 + [".jsonl.gz", ".jsonl.zst", ".json", ".csv", ".parquet"])
        path = Path(folder) / f"{seed}{kind}"
        path.write_bytes(damaged(encoded(with_odd_values(domain, chance), kind), chance))
        try:
            data = load_domain(domain, str(path))
            examples(data.domain, data.train)
            found.append((seed, "read", ""))
        except Exception as error:
            message, status = _line_and_status(error)
            found.append((seed, "refused" if status == 2 and path.name in message else f"status {status}", message))
        path.unlink()
    return found


def require_none_broken(seeds: range, sandbox: Sandbox, folder: Path) -> None:
    found: list[Any] = []
    for start in range(seeds.start, seeds.stop, BATCH):
        several = list(range(start, min(start + BATCH, seeds.stop)))
        outcome = sandbox.call("hostile.test_data:judge", several, str(folder), timeout=10 + BATCH)
        assert not outcome.broken, f"{several}: {outcome}"
        assert outcome.grown < _MEMORY, several
        found += outcome.value
    print(f"\ndata files: {dict(Counter(end for _, end, _ in found))}")
    broken = [case for case in found if case[1] not in ("read", "refused")]
    assert not broken, f"{len(broken)} of {len(found)}:\n" + "\n".join(map(str, broken[:20]))
    assert len(found) == len(seeds)
    assert Counter(end for _, end, _ in found)["refused"] > len(seeds) // 4


def test_a_damaged_data_file_is_read_or_refused_in_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    require_none_broken(range(SHORT), sandbox, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_damaged_data_files(sandbox: Sandbox, tmp_path: Path) -> None:
    require_none_broken(range(SHORT, LONG), sandbox, tmp_path)
