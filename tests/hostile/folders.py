"""Damages the folder of a model or an adapter, a seed a damage."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROOM = 2 * 2**30

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**18, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\0",
    "\ud800", "\u202e", "a" * 10_000, "../../etc/passwd", "/dev/zero", "(a+)+$", "{{ 1/0 }}", "__import__('os')",
    "auto", "float64", "int8", [], [None], ["x"], [[]], list(range(100)), {}, {"x": 1}, {"": {}}, {"0": None},
]  # fmt: skip


def damage(folder: Path, source: random.Random) -> list[str]:
    """Change one to three things; say which."""
    done = []
    for _ in range(source.choice([1, 1, 1, 2, 3])):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if not files:
            break
        path = source.choice(files)
        kinds = [_bytes, _structure] if source.random() < 0.3 else [_tensors if _is_tensors(path) else _json]
        done.append(f"{path.name}: {source.choice(kinds)(path, source)}")
    return done


def _is_tensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _bytes(path: Path, source: random.Random) -> str:
    content = bytearray(path.read_bytes())
    where = source.randrange(len(content) + 1)
    kind = source.choice(["cut", "flip", "insert", "random", "empty", "twice"])
    if kind == "cut":
        content = content[:where]
    elif kind == "flip" and content:
        content[min(where, len(content) - 1)] ^= 1 << source.randrange(8)
    elif kind == "insert":
        content[where:where] = source.choice(
            [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"{", b'"', b"\x80", b"NaN", b"[" * 5000]
        )
    elif kind == "random":
        content = bytearray(source.randbytes(200))
    elif kind == "empty":
        content = bytearray()
    else:
        content = content * 2
    path.write_bytes(content)
    return f"{kind} at {where}"


def _structure(path: Path, source: random.Random) -> str:
    path.unlink()
    kind = source.choice(["missing", "folder", "fifo", "dangling", "itself", "device"])
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to({"dangling": "nowhere", "itself": path.name, "device": "/dev/zero"}[kind])
    return kind


def _json(path: Path, source: random.Random) -> str:
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError):
        return _bytes(path, source)
    holders = _holders(content)
    if not holders or source.random() < 0.05:
        written = source.choice([*VALUES, "deep"])
        path.write_text("[" * 100_000 if written == "deep" else json.dumps(written))
        return f"is {str(written)[:40]}"
    holder, key = source.choice(holders)
    kind = source.choice(["set", "set", "set", "drop", "add"])
    value = source.choice(VALUES)
    if kind == "drop":
        del holder[key]
    elif kind == "add" and isinstance(holder, dict):
        holder[str(source.choice([*VALUES, *_OTHER_KEYS]))[:50]] = value
    else:
        holder[key] = value
    path.write_text(json.dumps(content))
    return f"{kind} {key} {str(value)[:40]}"


_OTHER_KEYS = (
    "auto_map", "quantization_config", "torch_dtype", "rope_scaling", "rope_parameters", "layer_types", "pruned_heads",
    "adapter_kwargs", "auto_mapping", "base_model_name_or_path", "runtime_config", "loftq_config", "megatron_config",
    "chat_template", "tokenizer_class", "model_max_length", "extra_special_tokens", "added_tokens_decoder",
    "is_decoder",
)  # fmt: skip


def _holders(content: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    left = [content]
    while left:
        one = left.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        found += [(one, key) for key in keys]
        left += [one[key] for key in keys]
    return found


def _tensors(path: Path, source: random.Random) -> str:
    content = path.read_bytes()
    try:
        length = struct.unpack("<Q", content[:8])[0]
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        names = [name for name in header if name != "__metadata__"]
        entry = header[name := source.choice(names)]
    except (ValueError, IndexError, KeyError, struct.error):
        return _bytes(path, source)
    kind = source.choice(
        ["drop", "rename", "dtype", "shape", "offsets", "length", "metadata", "extra", "values", "value"]
    )
    if kind == "drop":
        del header[name]
    elif kind == "rename":
        header[source.choice(["x", "", "../x", name + ".x", name.replace("layers.0", "layers.99")])] = header.pop(name)
    elif kind == "dtype":
        entry["dtype"] = source.choice(["F64", "BF16", "I64", "BOOL", "F4", "X", None, 3])
    elif kind == "shape":
        entry["shape"] = source.choice([[], [0], [2**40, 2**40], [-1], [1.5], "x", None, entry["shape"][::-1], [10**8]])
    elif kind == "offsets":
        entry["data_offsets"] = source.choice([[0, 0], [0, 2**62], [8, 4], [-1, 4], [0], None, ["x", "y"]])
    elif kind == "metadata":
        header["__metadata__"] = source.choice([{}, {"format": "tf"}, {"format": "x" * 9999}, None, [], {"format": 1}])
    elif kind == "extra":
        header[source.choice(["extra", "lm_head.weight", "model.layers.77.mlp.up_proj.weight"])] = dict(entry)
    elif kind == "values":
        begin, end = entry["data_offsets"]
        data = (
            data[:begin]
            + struct.pack("<f", source.choice([float("nan"), float("inf"), 3e38])) * ((end - begin) // 4)
            + data[end:]
        )
    written = json.dumps(header).encode()
    size = source.choice([2**63, 2**40, 0, length + 1]) if kind == "length" else len(written)
    path.write_bytes(struct.pack("<Q", size) + written + data)
    return f"{kind} of {name}"


def judge(kind: str, original: str, seeds: list[int], scratch: str, model: str) -> list[dict[str, Any]]:
    """Damage copies of a folder and use them; say how each ended."""
    _limit_memory()
    found = []
    for seed in seeds:
        folder = Path(scratch) / f"{kind}-{seed}"
        shutil.copytree(original, folder)
        done = damage(folder, random.Random(f"{kind} {seed}"))
        started = time.monotonic()
        end, said = used(kind, folder, model)
        found.append({"seed": seed, "done": done, "end": end, "said": said, "seconds": time.monotonic() - started})
    return found


def used(kind: str, folder: Path, model: str) -> tuple[str, str]:
    """Use a folder: how it ended, and what was said."""
    from lalora.errors import LaloraError

    try:
        USES[kind](folder, model)
    except LaloraError as error:
        return ("broken" if "\n" in str(error) else "refused"), str(error)
    except Exception:
        return "broken", traceback.format_exc()[-1500:]
    return "accepted", ""


def replay(kind: str, folder: str, model: str) -> tuple[str, str]:
    """Use a folder as it is."""
    _limit_memory()
    return used(kind, Path(folder), model)


def _limit_memory() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ROOM, size + _ROOM))


def use_model(folder: Path, _: str) -> None:
    import torch

    from lalora.assets import load_model, load_tokenizer
    from lalora.study.setup.data import limit_to_context

    model = load_model(str(folder), torch.float32)
    tokenizer = load_tokenizer(str(folder))
    limit_to_context(tokenizer, model.config)
    ids = tokenizer("the cat sat .", return_tensors="pt")["input_ids"]
    model(input_ids=ids)


def use_adapter(folder: Path, model: str) -> None:
    import torch

    from lalora.assets import load_adapter, load_model

    tuned = load_adapter(load_model(model, torch.float32), folder, model)
    tuned(input_ids=torch.tensor([[1, 2, 3]]))


USES: dict[str, Callable[[Path, str], None]] = {"model": use_model, "adapter": use_adapter}
