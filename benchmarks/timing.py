"""Time several ways in turns, so that a machine that slows down for a while slows all of them."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Paired:
    """Seconds of two ways to do the same, measured in turns."""

    plain: list[float]
    extra: list[float]

    @property
    def ratios(self) -> list[float]:
        """Ratio of each pair."""
        return [extra / plain for plain, extra in zip(self.plain, self.extra, strict=True)]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Quartiles of the ratios."""
        low, middle, high = statistics.quantiles(self.ratios, n=4)
        return low, middle, high

    def __str__(self) -> str:
        low, middle, high = self.quartiles
        return (
            f"{middle:6.3f}   (quartiles {low:.3f} to {high:.3f}; "
            f"{statistics.median(self.extra):.3f} s over {statistics.median(self.plain):.3f} s)"
        )


def compare(plain: Work, extra: Work, pairs: int, device: torch.device) -> Paired:
    """Time two ways in turns, after one warm-up of each; the first of a pair is the second of the next."""
    return compare_all(plain, {"": extra}, pairs, device)[""]


def compare_all(plain: Work, ways: Mapping[str, Work], pairs: int, device: torch.device) -> dict[str, Paired]:
    """Time many ways, each paired with its own run of the plain one; every round goes through all of them."""
    for way in (plain, *ways.values()):
        way()
    times = {name: Paired([], []) for name in ways}
    for pair in range(pairs):
        for name, extra in ways.items():
            both = [(plain, times[name].plain), (extra, times[name].extra)]
            for way, kept in both if pair % 2 else reversed(both):
                kept.append(seconds(way, device))
    return times


def seconds(work: Work, device: torch.device) -> float:
    """Time one call."""
    settle(device)
    began = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - began


def settle(device: torch.device) -> None:
    """Wait for the GPU, which works asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Exponent p of times ~ sizesᵖ, by least squares in log–log."""
    return statistics.linear_regression([math.log(x) for x in sizes], [math.log(y) for y in times]).slope


def chosen_device() -> torch.device:
    """Return the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine(device: torch.device) -> str:
    """Describe the machine."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    waiting = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} of them used, load average "
        f"{waiting:.1f} at the start (this program adds up to {torch.get_num_threads()}), torch {torch.__version__}"
    )
