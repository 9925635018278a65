"""What the benchmarks share: races, the machine's own rates, a process's time and memory."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anogen.allocator import keep_freed_memory
from anogen.device import choose_precision, device_name

Rates = dict[str, list[float]]
"""Who → what was measured in each repetition; all of one repetition were measured one by one."""


Points = list[dict[str, float]]
"""Measurements of something that grows, each with the `x` that was varied."""


def race(entries: dict[str, Callable[[], float]], repetitions: int) -> Rates:
    """What everybody measures of itself, in turn; a first round warms up and does not count.

    Freed memory is kept for all of them, as the command line does for ours.
    """
    keep_freed_memory()
    found: Rates = {name: [] for name in entries}
    for repetition in range(repetitions + 1):
        for name, measure in entries.items():
            value = measure()
            if repetition:
                found[name].append(value)
    return found


def per_second(images: int, work: Callable[[], Any]) -> float:
    """Images per second of a piece of work."""
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of measurements made in turn."""
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def show(title: str, rates: Rates, base: str) -> None:
    """Print medians, spreads and the ratio to one of them."""
    print(title, flush=True)
    for name, found in rates.items():
        spread = f"{statistics.median(found):8,.0f} ({min(found):,.0f} to {max(found):,.0f})"
        print(
            f"  {name:<46} {spread}   {median_ratio(found, rates[base]):.2f} × {base}", flush=True
        )


def machine() -> dict[str, Any]:
    """The processor's name, threads, versions, and measured rates of matrix products.

    The rate is that of the precision in which anogen trains there, and of float32: without
    instructions for bfloat16 its products are emulated, and nobody uses them.
    """
    precision = choose_precision("auto", torch.device("cpu"))
    rates = {dtype: matrix_rate(dtype) for dtype in (torch.float32, precision)}
    return {
        "machine": device_name(torch.device("cpu")),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "precision": named(precision),
        **{f"{named(dtype)}_gflops": rate for dtype, rate in rates.items()},
    }


def named(dtype: torch.dtype) -> str:
    """The name of a precision, such as `float32`."""
    return str(dtype).removeprefix("torch.")


def matrix_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Measured rate of a matrix product, in GFLOP/s."""
    a = torch.randn(size, size).to(dtype)
    torch.matmul(a, a)
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        torch.matmul(a, a)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times) / 1e9


def run_alone(command: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak resident megabytes (10⁶ bytes) of a command in a process of its own."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{said}")
    return seconds, used.ru_maxrss * 1024 / 1e6


def exponent(points: Points, key: str) -> float:
    """The power of x with which something grows: the slope of its logarithm, by least squares."""
    x, y = ([p[name] for p in points] for name in ("x", key))
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def keep(report: dict[str, Any], out: Path | None) -> None:
    """Write a report as JSON, where a path is given."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
