"""What LaLoRA costs over plain LoRA on a real model: time of a step, time of stage I, memory of stage II.

Run with `make benchmarks`. Everything is measured in this one process, on a GPU where there is one. The two ways
run in turns on the same batches, in alternating order, and the ratio is the median over such pairs: a machine that
slows down for a while slows both.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

import torch
from peft import PeftModel
from setting import MODEL, SOURCES, Batch, forward_backward, real, text
from timing import chosen_device, compare, machine, seconds
from torch import Tensor
from torch.profiler import profile

import lalora
from lalora.adapter import trainable_tensors

SOURCE_ROWS = 8
BATCH_SIZE = 4
STEP_PAIRS = 16
FIT_PAIRS = 5


def main() -> None:
    """Measure and print."""
    device = chosen_device()
    setting = real(device, "all-linear", SOURCE_ROWS, BATCH_SIZE)
    model, source = setting.model, setting.sources
    target = text("gsm8k", 4 * BATCH_SIZE, BATCH_SIZE, device)
    print(f"{MODEL} in bfloat16, float32 adapters of rank 16 on all linear layers, on {machine(device)}")
    print(f"steps of {BATCH_SIZE} GSM8K rows")
    print(f"stage I on {SOURCE_ROWS} rows each of {', '.join(SOURCES)} ({setting.positions} tokens)\n")

    laplace = lalora.fit(model, source, progress=False)
    stage_one = compare(
        lambda: forward_backward(model, setting.batches),
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
    print(f"  temporary, in each step                        {peak / of_b:6.3f}")
    print(f"  never read by the penalty: start of A, on CPU  {start / of_b:6.3f}")


def step(model: PeftModel, optimizer: torch.optim.Optimizer, batch: Batch, laplace: lalora.Laplace | None) -> None:
    """Do an optimizer step as `LaplaceTrainer` does, or, without a Laplace, as `Trainer` does."""
    optimizer.zero_grad()
    forward_backward(model, [batch])
    if laplace is not None:
        laplace.add_gradient(model, 1.0)
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()


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


if __name__ == "__main__":
    main()
