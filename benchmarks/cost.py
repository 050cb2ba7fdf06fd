"""What LaLoRA costs over plain LoRA on a real model: time of a step, time of stage I, memory of stage II.

Run with `make benchmarks`. Everything is measured in this one process, on a GPU where there is one. What is compared
runs in turns on the same batches, in alternating order, and the ratio is the median over such pairs: a machine that
slows down for a while slows both.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.profiler import profile

import lalora
from lalora.adapter import trainable_tensors
from lalora.assets import load_model, load_tokenizer
from lalora.completion import completion
from lalora.domains import batches, examples, load_domain, tokenize

MODEL = "smollm2-135m"
SOURCES = ("winogrande", "arc_challenge", "hellaswag")
SOURCE_ROWS = 8
BATCH_SIZE = 4
MAX_LENGTH = 192
STEP_PAIRS = 16
FIT_PAIRS = 5

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Paired:
    """Seconds of two ways to do the same, measured in turns."""

    plain: list[float]
    extra: list[float]

    def __str__(self) -> str:
        ratios = [extra / plain for plain, extra in zip(self.plain, self.extra, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        return (
            f"{statistics.median(ratios):6.3f}   (quartiles {low:.3f} to {high:.3f}; "
            f"{statistics.median(self.extra):.3f} s over {statistics.median(self.plain):.3f} s)"
        )


def main() -> None:
    """Measure and print."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, target, source = material(device)
    seen = sum(int(batch["attention_mask"].sum()) for part in source.values() for batch in part)
    print(f"{MODEL} in bfloat16, float32 adapters of rank 16 on all linear layers, on {machine(device)}")
    print(f"steps of {BATCH_SIZE} GSM8K rows")
    print(f"stage I on {SOURCE_ROWS} rows each of {', '.join(SOURCES)} ({seen} tokens)\n")

    laplace = lalora.fit(model, source, progress=False)
    stage_one = compare(
        lambda: forward_backward(model, [batch for part in source.values() for batch in part]),
        lambda: lalora.fit(model, source, progress=False),
        FIT_PAIRS,
        device,
    )
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    turn = iter(range(1_000_000))
    steps = compare(
        lambda: step(model, optimizer, target[next(turn) // 2 % len(target)], None),
        lambda: step(model, optimizer, target[next(turn) // 2 % len(target)], laplace),
        STEP_PAIRS,
        device,
    )
    penalty = statistics.median(seconds(lambda: laplace.add_gradient(model, 1.0), device) for _ in range(20))
    of_b = sum(nbytes(p) for name, p in trainable_tensors(model).items() if ".lora_B." in name)
    kept = sum(nbytes(tensor) for tensor in laplace.curvature.tensors().values())
    start = sum(nbytes(tensor) for tensor in laplace.mean.values())
    peak = peak_bytes(lambda: laplace.add_gradient(model, 1.0), device)

    print(f"step time, LaLoRA over plain LoRA                {steps}")
    print(f"  the penalty's gradient alone, part of a step   {penalty / statistics.median(steps.plain):6.3f}")
    print(f"stage I over one forward and backward            {stage_one}")
    print(f"memory of stage II over the bytes of B           {(kept + peak) / of_b:6.3f}   (B: {of_b / 2**20:.1f} MiB)")
    print(f"  kept: curvature                                {kept / of_b:6.3f}")
    print(f"  for a moment in each step                      {peak / of_b:6.3f}")
    print(f"  never read by the penalty: start of A, on CPU  {start / of_b:6.3f}")


def material(device: torch.device) -> tuple[PeftModel, list[Batch], dict[str, list[Batch]]]:
    """Load the model with a new adapter, batches of the target and batches of each source."""
    tokenizer = load_tokenizer(MODEL)
    torch.manual_seed(0)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_model(MODEL, torch.bfloat16).to(device), config)
    model.train()

    def text(name: str, rows: int) -> list[Batch]:
        data = load_domain(name)
        items = tokenize(examples(data.domain, data.train[: 4 * rows]), tokenizer)
        short = [item for item in items if len(item["input_ids"]) <= MAX_LENGTH][:rows]
        return [
            {key: tensor.to(device) for key, tensor in batch.items()}
            for batch in batches(short, BATCH_SIZE, tokenizer.pad_token_id)
        ]

    return model, text("gsm8k", 4 * BATCH_SIZE), {name: text(name, SOURCE_ROWS) for name in SOURCES}


def step(model: PeftModel, optimizer: torch.optim.Optimizer, batch: Batch, laplace: lalora.Laplace | None) -> None:
    """Do an optimizer step as `LaplaceTrainer` does, or, without a Laplace, as `Trainer` does."""
    optimizer.zero_grad()
    forward_backward(model, [batch])
    if laplace is not None:
        laplace.add_gradient(model, 1.0)
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()


def forward_backward(model: PeftModel, text: Sequence[Batch]) -> None:
    """Run the model over batches and back."""
    for batch in text:
        seen = completion(model, batch)
        cross_entropy(seen.logits, seen.targets).backward()


def compare(plain: Callable[[], object], extra: Callable[[], object], pairs: int, device: torch.device) -> Paired:
    """Time two ways in turns, after one warm-up of each; the first of a pair is the second of the next."""
    plain()
    extra()
    times = Paired([], [])
    for pair in range(pairs):
        ways = [(plain, times.plain), (extra, times.extra)]
        for way, kept in ways if pair % 2 else reversed(ways):
            kept.append(seconds(way, device))
    return times


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time one call."""
    settle(device)
    began = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - began


def settle(device: torch.device) -> None:
    """Wait for the GPU, which works behind the program's back."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Measure the most tensor memory that a call holds at once, beyond what was there before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    # The profiler would otherwise announce itself in the middle of the table.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profile(profile_memory=True) as profiler:
        work()
    held = peak = 0
    for event in sorted(profiler.events(), key=lambda event: event.time_range.start):
        held += event.self_cpu_memory_usage
        peak = max(peak, held)
    return peak


def nbytes(tensor: Tensor) -> int:
    """Size of a tensor."""
    return tensor.numel() * tensor.element_size()


def machine(device: torch.device) -> str:
    """Name what this runs on."""
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPU cores ({platform.machine()})"
    )
    return f"{name}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
