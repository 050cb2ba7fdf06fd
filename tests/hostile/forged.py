"""Forges Laplace files with right checksums, and judges what a model makes of them. Runs inside the sandbox."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import random
import shutil
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peft import PeftModel
from torch import Tensor

import lalora
from lalora.study.setup.start import at_mean
from tiny import batches, llama, lora, rows, shake

KINDS = {
    "diagonal": {"curvature": "diagonal"},
    "kfac": {"curvature": "kfac"},
    "tri-kfac": {"curvature": "tri-kfac"},
    "weight-kfac": {"curvature": "weight-kfac"},
    "weight-diagonal": {"curvature": "weight-diagonal"},
    "separate": {"curvature": "kfac", "combine": "separate"},
    "truncated": {"curvature": "weight-kfac", "factor_rank": 2, "prior": 0.1},
    "base": {"curvature": "weight-kfac", "target_modules": "all-linear"},
    "base-diagonal": {"curvature": "weight-diagonal", "target_modules": ["q_proj", "down_proj"]},
}
NAMES = [*KINDS, "tasks", "narrow"]

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, -0.5, 1e300, -1e300, 10**8, 2**31, 2**63, 2**64, 10**400, math.nan, math.inf, "",
    "1", "x", "../x", "/etc/passwd", "a\n", "\x00", "\x1b[2J", "(a+)+$", "é" * 600, "\ud800", [], {}, [1], [[]], [None],
    {"a": 1}, {"": 0}, "sum", "diagonal", "kfac", "weight-diagonal", "adapter-prior", "tasks", "all",
]  # fmt: skip


def make_originals(folder: Path) -> None:
    source = {"arc": batches(rows(4), 2), "wino": batches(rows(3, seed=5), 3)}
    for name, options in KINDS.items():
        model = llama() if "target_modules" in options else subject(name)
        lalora.fit(model, source, progress=False, **options).save(folder / name)
    first, second = subject("tasks"), subject("tasks")
    shake(second)
    tasks = [lalora.fit(model, source, curvature="weight-kfac", progress=False) for model in (first, second)]
    (tasks[0] + tasks[1]).save(folder / "tasks")
    wide = lalora.fit(subject("narrow"), source, curvature="tri-kfac", progress=False)
    wide.save(folder / "narrow", torch.bfloat16)


def subject(name: str) -> PeftModel:
    targets = {"target_modules": ["q_proj", "down_proj"]} if name == "base-diagonal" else {}
    return lora(b_scale=0.3 if name in ("tri-kfac", "narrow") else 0.0, **targets)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    body = json.loads((folder / "laplace.json").read_text())
    return body, safetensors.torch.load_file(folder / body["tensors"])


def write(folder: Path, body: dict[str, Any], tensors: dict[str, Tensor] | bytes) -> None:
    """Writes both files with checksums that are right, however wrong the rest is."""
    folder.mkdir(parents=True, exist_ok=True)
    data = tensors if isinstance(tensors, bytes) else safetensors.torch.save(tensors)
    digest = hashlib.sha256(data).hexdigest()
    own = body.get("tensors", "")
    name = f"laplace-{digest[:8]}.safetensors"
    (folder / name).write_bytes(data)
    honest = isinstance(own, str) and own.startswith("laplace-") and own.endswith(".safetensors")
    body = {**body, "tensors": name if honest else own, "tensors_sha256": digest}
    body.pop("sha256", None)
    text = json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    whole = {**body, "sha256": hashlib.sha256(text).hexdigest()}
    (folder / "laplace.json").write_bytes(json.dumps(whole, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def forge(original: Path, folder: Path, chance: random.Random) -> str:
    """Writes a forged copy; tells what was done."""
    body, tensors = read(original)
    done = [chance.choice(FORGERIES)(body, tensors, chance) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
    data: dict[str, Tensor] | bytes = tensors
    if chance.random() < 0.1:
        data, told = damaged(safetensors.torch.save(tensors), chance)
        done.append(told)
    write(folder, body, data)
    if chance.random() < 0.04:
        done.append(linked(folder, chance))
    return "; ".join(done)


def places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in [(*where, key), *places(item, (*where, key))]]


def parent(body: Any, where: tuple[Any, ...]) -> Any:
    for key in where[:-1]:
        body = body[key]
    return body


def odd_field(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    where = chance.choice(places(body))
    parent(body, where)[where[-1]] = value = copy.deepcopy(chance.choice(ODD))
    return f"{where} = {str(value)[:40]!r}"


def odd_named_field(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    """As above, where most places are fingerprints of layers: the few that matter more."""
    few = [place for place in places(body) if "layers" not in place and "shapes" not in place]
    where = chance.choice(few)
    parent(body, where)[where[-1]] = value = copy.deepcopy(chance.choice(ODD))
    return f"{where} = {str(value)[:40]!r}"


def missing_field(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    where = chance.choice(places(body))
    holder = parent(body, where)
    del holder[where[-1]]
    return f"without {where}"


def extra_field(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    holders = [parent(body, where) for where in places(body) if isinstance(parent(body, where), dict)]
    chance.choice(holders)[chance.choice(("extra", "", "q\x00", "r", "x" * 1000))] = copy.deepcopy(chance.choice(ODD))
    return "with a field too many"


def another_word(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    provenance = body["provenance"]
    if not isinstance(provenance, dict):
        return "nothing"
    key = chance.choice(("curvature", "fisher", "labels", "combine"))
    words = ("diagonal", "kfac", "weight-kfac", "batch", "token", "sampled", "data", "sum", "mean", "tasks", "separate")
    provenance[key] = chance.choice(words)
    return f"{key}={provenance[key]}"


def another_kind(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    old, new = (
        body.get("kind"),
        chance.choice(("diagonal", "kfac", "tri-kfac", "weight-kfac", "weight-diagonal", "sum")),
    )
    body["kind"] = new
    for name in list(tensors):
        if name.startswith(f"{old}/"):
            tensors[new + name.removeprefix(str(old))] = tensors.pop(name)
    if chance.random() < 0.5 and isinstance(body["provenance"], dict):
        body["provenance"]["curvature"] = new
    return f"kind {old} called {new}"


def another_rank(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    rank = chance.choice((1, 2, 64, 10**6, 10**8, 2**40, -3))
    settings = body["provenance"].get("lora") if isinstance(body["provenance"], dict) else None
    if isinstance(settings, dict):
        settings["r"] = rank
        if chance.random() < 0.3:
            settings["rank_pattern"] = {"q_proj": rank}
    shapes = body.get("shapes")
    if chance.random() < 0.7 and isinstance(shapes, dict):
        for name, shape in shapes.items():
            if isinstance(shape, list) and len(shape) == 2:
                shape[0 if "lora_A" in name else 1] = rank
    if chance.random() < 0.3:
        for name, tensor in tensors.items():
            if name.endswith("/shape"):
                tensors[name] = torch.tensor([tensor[0].item(), rank, tensor[-1].item()])
    return f"rank {rank}"


def odd_tensor(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    name = chance.choice(list(tensors))
    tensor = tensors[name]
    how = chance.choice(list(ODD_TENSORS))
    tensors[name] = ODD_TENSORS[how](tensor.clone(), chance).contiguous()
    return f"{name}: {how}"


def spoiled(value: float) -> Any:
    def spoil(tensor: Tensor, chance: random.Random) -> Tensor:
        if tensor.numel() and tensor.is_floating_point():
            tensor.view(-1)[chance.randrange(tensor.numel())] = value
            return tensor
        return torch.full_like(tensor, max(-(2**62), min(2**62, int(value))) if math.isfinite(value) else 7)

    return spoil


ODD_TENSORS: dict[str, Any] = {
    **{f"an entry of {value}": spoiled(value) for value in (math.nan, math.inf, -math.inf, -1.0, 1e30, 3e38, 0.0, 50)},
    "negated": lambda tensor, chance: -tensor,
    "scaled": lambda tensor, chance: (tensor * chance.choice((0, 0.5, 3, 1e4, 1e8))).to(tensor.dtype),
    "an entry too many": lambda tensor, chance: torch.cat([tensor.reshape(-1), tensor.reshape(-1)[:1]]),
    "transposed": lambda tensor, chance: tensor.T if tensor.dim() == 2 else tensor[None],
    "cut": lambda tensor, chance: tensor[..., :-1] if tensor.dim() else tensor[None],
    "empty": lambda tensor, chance: torch.zeros(chance.choice([(0,), (0, 4), (4, 0), (0, 0)]), dtype=tensor.dtype),
    "a scalar": lambda tensor, chance: tensor.reshape(-1)[:1].reshape(()) if tensor.numel() else torch.zeros(()),
    "of another type": lambda tensor, chance: torch.zeros_like(tensor).to(
        chance.choice((torch.int8, torch.int64, torch.bool, torch.complex64, torch.float16, torch.float64))
    ),
    "noise": lambda tensor, chance: torch.rand(tensor.shape).to(tensor.dtype),
    "repeated columns": lambda tensor, chance: tensor[..., :1].expand(tensor.shape) if tensor.dim() else tensor,
    "long": lambda tensor, chance: torch.ones(300_000),
}


def missing_tensor(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    name = chance.choice(list(tensors))
    if len(tensors) > 1:
        del tensors[name]
    return f"without {name}"


def extra_tensor(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    like = chance.choice(list(tensors))
    name = chance.choice(
        (f"{like}2", f"x{like}", "extra", "mean/", "/", "sum/9/kfac/x", f"{like}/x", "mean/(a+)+$", "é\n")
    )
    tensors[name] = tensors[like].clone()
    return f"with {name!r}"


def renamed_tensor(body: dict[str, Any], tensors: dict[str, Tensor], chance: random.Random) -> str:
    one, other = chance.choice(list(tensors)), chance.choice(list(tensors))
    tensors[one], tensors[other] = tensors[other], tensors[one]
    return f"{one} and {other} exchanged"


FORGERIES = [
    odd_field, odd_named_field, odd_named_field, missing_field, extra_field, another_word, another_kind, another_rank,
    odd_tensor, odd_tensor, odd_tensor, missing_tensor, extra_tensor, renamed_tensor,
]  # fmt: skip


def damaged(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    how = chance.choice(("cut", "longer", "header", "length", "overlap", "empty"))
    size = int.from_bytes(data[:8], "little")
    if how == "cut":
        return data[: chance.randrange(len(data))], how
    if how == "longer":
        return data + bytes(chance.randrange(1, 100)), how
    if how == "empty":
        return b"", how
    if how == "length":
        lie = chance.choice((0, 1, size + 1, 2**40, 2**63, 2**64 - 1))
        return lie.to_bytes(8, "little") + data[8:], how
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    one = header[chance.choice(list(header))]
    if how == "overlap":
        one["data_offsets"] = header[chance.choice(list(header))]["data_offsets"]
    else:
        key = chance.choice(("dtype", "shape", "data_offsets"))
        lies = {
            "dtype": ["F64", "BF16", "X", "F8_E5M2"],
            "shape": [[], [2**40], [10**8, 10**8], [-1]],
            "data_offsets": [[0, 2**50], [5, 1], [0]],
        }
        one[key] = chance.choice(lies[key])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :], how


def linked(folder: Path, chance: random.Random) -> str:
    """Puts a link, or a thing that is no file, in the place of a file."""
    file = chance.choice(sorted(folder.iterdir()))
    outside = folder.parent / f"{folder.name}-{file.name}"
    shutil.move(file, outside)
    file.symlink_to(chance.choice((outside, Path("/dev/zero"), folder, Path("/proc/self/mem"), file)))
    return f"{file.name} is a link"


def judged(folder: Path, name: str) -> str:
    """Loads a folder, and lets a model meet it; what is believed must be a curvature."""
    try:
        laplace = lalora.Laplace.load(folder)
        model = at_mean(llama(), laplace) if laplace.shapes else subject(name)
        value, gradient = charged(laplace, model)
    except lalora.LaloraError as error:
        assert "\n" not in str(error), f"more than a line: {error}"
        return "refused"
    assert value == 0, f"a penalty of {value} where nothing moved"
    for scale in (0.01, 1.0):
        shake(model, scale)
        value, gradient = charged(laplace, model)
        assert math.isfinite(value) and value >= 0, f"a penalty of {value}"
        assert math.isfinite(gradient), "a gradient that is not finite"
        forecast = laplace.forecast(model)
        assert math.isfinite(forecast) and forecast >= 0, f"a forecast of {forecast}"
    return "accepted"


def charged(laplace: lalora.Laplace, model: PeftModel) -> tuple[float, float]:
    penalty = laplace.penalty(model)
    model.zero_grad()
    if penalty.requires_grad:
        penalty.backward()
    gradients = [parameter.grad.abs().max() for parameter in model.parameters() if parameter.grad is not None]
    return float(penalty.detach()), float(max(gradients, default=0.0))


def judge(originals: str, seeds: list[int], scratch: str) -> list[dict[str, Any]]:
    """Forges and judges a case a seed."""
    warnings.simplefilter("ignore")
    found = []
    for seed in seeds:
        chance = random.Random(seed)
        name = NAMES[seed % len(NAMES)]
        folder = Path(scratch) / str(seed)
        torch.manual_seed(seed)
        done = forge(Path(originals) / name, folder, chance)
        started = time.monotonic()
        try:
            end = judged(folder, name)
        except Exception:
            end = traceback.format_exc()[-1500:]
        found.append({"seed": seed, "name": name, "done": done, "end": end, "seconds": time.monotonic() - started})
        shutil.rmtree(folder)
    return found
