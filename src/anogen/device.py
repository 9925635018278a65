"""Which device computes, in which precision, with whose random numbers and memory."""

import os
import platform
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from anogen.errors import MachineError, TrainingError, UsageError, unknown_name

PRECISIONS = ("auto", "bfloat16", "float32")
SAMPLED_S = 0.3
"""How long the load of the machine is looked at."""
STARVED = ("allocate memory", "Unable to allocate", "start new thread", "create new thread",
           "could not create a memory object", "std::bad_alloc")  # fmt: skip
"""What PyTorch and Python say when memory is short, in errors of no kind of their own."""


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is the first CUDA GPU where there is one, else the processor.

    Raises:
        UsageError: not a device's name.
        MachineError: a GPU was asked for and none can be used.
    """
    given: Any = name
    if not isinstance(given, str):
        raise UsageError(f"device {given!r}: use auto, cpu, cuda or cuda:N")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r}: use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r}: only cpu and cuda are supported")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(
            f"device {name!r}: PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs; "
            "use cpu, or see anogen doctor"
        )
    return device


@contextmanager
def matrix_products_in(dtype: torch.dtype, device: torch.device) -> Generator[None]:
    """The block multiplies matrices in this type, whatever `torch.autocast` is on around it.

    Within another autocast PyTorch keeps weights that were converted once, and would compute with
    old ones after the next optimiser step; so they are dropped.
    """
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            yield
    finally:
        torch.clear_autocast_cache()


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type of matrix products: `auto` is bfloat16 where the device has instructions for it.

    Weights, optimiser state, losses and normalisation statistics stay float32 either way.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == "auto":
        return torch.bfloat16 if fast_bfloat16(device) else torch.float32
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision]


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the processor (AVX-512 BF16, AMX) or the GPU computes in bfloat16 natively.

    Instructions that `ONEDNN_MAX_CPU_ISA` or `ATEN_CPU_CAPABILITY` forbid do not count.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities()
    if not (abilities.get("avx512_bf16") or abilities.get("amx_bf16")):
        return False
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2"):
        return False
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # PyTorch keeps it to itself
        return True


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_threads() -> int:
    """As many threads as PyTorch has, or, if other processes use cores, as are left, at least one.

    PyTorch's threads wait for one another at every layer, so that one which does not get its core
    holds all of them up, and a busy machine costs far more than its share (docs/performance.md).
    Who sets `OMP_NUM_THREADS` has decided; what runs at a lower
    priority than usual does not count.
    """
    threads = torch.get_num_threads()
    if threads == 1 or "OMP_NUM_THREADS" in os.environ:
        return threads
    return max(1, min(threads, round(_idle_cores(threads))))


def _idle_cores(otherwise: int) -> float:
    """How many of the machine's cores nobody used while this waited; unknown: `otherwise`."""
    before = _core_seconds()
    time.sleep(SAMPLED_S)
    after = _core_seconds()
    if before is None or after is None:
        return otherwise
    idle, whole = (late - early for late, early in zip(after, before, strict=True))
    return (os.cpu_count() or 1) * idle / whole if whole > 0 else otherwise


def _core_seconds() -> tuple[float, float] | None:
    """Of all cores, ticks that were idle or nice, and all; None where the system does not say."""
    try:
        with Path("/proc/stat").open("rb") as file:
            user, nice, system, idle, waiting, *rest = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return idle + waiting + nice, user + nice + system + idle + waiting + sum(rest)


@contextmanager
def in_threads(count: int) -> Generator[None]:
    """The block computes with so many threads; a setting of the whole process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_name(device: torch.device) -> str:
    """What the processor or the GPU calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    about = Path("/proc/cpuinfo")
    lines = about.read_text("utf-8").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


_randomness = threading.RLock()


def _unlock_in_child() -> None:
    """A process that was forked while another thread drew has no such thread."""
    global _randomness
    _randomness = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_in_child)


@contextmanager
def own_randomness() -> Generator[None]:
    """A block that may seed and draw from PyTorch's random generators as if it were alone.

    They are shared by all threads, so one such block runs at a time; what other code draws from
    them meanwhile is not reproducible. Within the block new tensors are float32 and gradients can
    be taken, whatever the caller has set; afterwards generators and settings are as they were. (The
    default dtype, too, is the process's: one other than float32 is suspended for all threads.)
    """
    with _randomness, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        before = torch.get_default_dtype()
        if before != torch.float32:
            torch.set_default_dtype(torch.float32)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                yield
        finally:
            if before != torch.float32:
                torch.set_default_dtype(before)


def is_starved(error: Exception) -> bool:
    """Whether an error says that memory is short."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        sign in str(error) for sign in STARVED
    )


@contextmanager
def memory_advice(advice: str) -> Generator[None]:
    """Turn a lack of memory, which PyTorch reports in three ways, into one line with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_starved(error):
            raise TrainingError(f"out of memory; {advice}") from error
        raise
