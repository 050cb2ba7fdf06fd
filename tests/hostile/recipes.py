"""Recipes that hung, ate memory or ended in a traceback once, and what is said of each now."""

from __future__ import annotations

GOOD = """\
base:
  model: smollm2-135m
  sources: {winogrande: embedded}
  target: {gsm8k: embedded}
  method: lora
  steps: 2
grid:
- {learning_rate: 1e-3}
"""


def with_base(line: str) -> str:
    return GOOD.replace("  steps: 2\n", f"  steps: 2\n  {line}\n")


def aliases(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n" + GOOD


BROKE: dict[str, tuple[str | bytes, str]] = {
    "aliases of aliases": (aliases(9, 9), "aliases written out, are too many"),
    "a recipe whose name no file has": ("extends: " + "9" * 400 + "\n" + GOOD, "File name too long"),
    "a list in itself": ("base: &a [*a]\ngrid: []\n", "nested too deep"),
    "depth": ("[" * 200_000, "nested too deep"),
    "depth of mappings": ("{a: " * 3_000, "nested too deep"),
    "size": ("# " + "x" * 300_000 + "\n" + GOOD, "bytes are too many for a recipe"),
    "a number of 6,000 digits": (with_base("seed_: " + "9" * 6000), "not valid YAML"),
    "a date that is none": (with_base("rank: 2001-99-99"), "not valid YAML"),
    "a control character": (GOOD.replace("smollm2-135m", '"a\\x1b[31mb"'), "control character"),
    "NUL": (with_base('description: "a\\0b"'), "control character"),
    "text from right to left": (with_base('dtype: "\\u202eabc"'), "control character"),
    "a lone surrogate": (with_base('dtype: "\\ud800"'), "control character"),
    "raw escape": (b"base: \x1b[31m\n", "not valid YAML"),
    "raw NUL": (b"base: a\x00b\n", "not valid YAML"),
    "latin-1": ("description: caf\u00e9\n".encode("latin-1") + GOOD.encode(), "cannot be read"),
    "UTF-16": (GOOD.encode("utf-16"), "cannot be read"),
    "a tag of Python": ("base: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    "seeds too large": (GOOD + "seeds: [4294967296]\n", "it can be 4.29497e+09 at most: random generators"),
    "negative seeds": (GOOD + "seeds: [-1]\n", "greater than or equal to 0"),
    "half a seed": (GOOD + "seeds: [1.5]\n", "valid integer"),
    "a true seed": (GOOD + "seeds: [true]\n", "valid integer"),
    "rank": (with_base("rank: 1000000000000"), "it can be 65536 at most: no layer of a language model is wider"),
    "steps": (GOOD.replace("steps: 2", "steps: 1" + "0" * 30), "it can be 1e+09 at most"),
    "batch": (with_base("batch_size: 1000000000000"), "it can be 1.04858e+06 at most: a batch must fit into memory"),
    "learning rate": (GOOD.replace("1e-3", "1e300"), "it can be 1e+30 at most: float32 holds no larger products"),
    "infinite rate": (GOOD.replace("1e-3", ".inf"), "finite number"),
    "no number": (GOOD.replace("1e-3", ".nan"), "'learning_rate' is nan"),
    "true rank": (with_base("rank: true"), "valid integer"),
    "a grid of a billion": (
        GOOD.replace("{learning_rate: 1e-3}", "{" + ", ".join(
            f"{key}: [{', '.join(str(n) for n in range(1, 1001))}]" for key in ("rank", "warmup_steps", "weight_decay")
        ) + "}"),
        "the grid has 1,000,000,000 runs; a study has 10,000 at most",
    ),
    "a name without end": (
        GOOD.replace("{learning_rate: 1e-3}", "{target_modules: [[" + "a" * 500 + "]]}"),
        "this run's folder would have a name of",
    ),
    "a key that is no text": ("1: 2\n" + GOOD, "keys should be strings"),
    "a key twice": (GOOD + "grid: []\n", "is there twice"),
    "nothing": ("", "a recipe is a mapping"),
    "a merge of a word": (GOOD + "<<: x\n", "not valid YAML"),
    "sexagesimal": (with_base("rank: 1:30"), "'rank' is '1:30'"),
    "octal": (with_base("rank: 010"), "'rank' is '010'"),
    "with underscores": (with_base("rank: 1_6"), "'rank' is '1_6'"),
}  # fmt: skip
