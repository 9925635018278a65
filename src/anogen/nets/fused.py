"""Batch normalisation and the rectifier after it as one operation, where a compiler is at hand.

PyTorch takes six passes over memory for the two, forward and backward, which is half of the time of
a training step on the processor. `fused.cpp` takes four and is compiled once for each machine, into
the user's cache folder. Everywhere else, PyTorch's own operations compute the same.
"""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from anogen.device import device_name
from anogen.folders import cache_dir

SOURCE = Path(__file__).with_name("fused.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math",
         "-fopenmp", "-shared", "-fPIC")  # fmt: skip
OFF = "ANOGEN_NO_COMPILER"
"""Environment variable: with any value but an empty one, PyTorch's own operations are used."""
COMPILE_S = 60


class Layers(nn.Sequential):
    """`nn.Sequential` that computes each batch normalisation with the rectifier that follows.

    In training on the processor, with channels last and a compiler at hand, the two are one
    operation; otherwise, and where one of them has hooks or is of a class derived from PyTorch's,
    this is `nn.Sequential`. Names of weights, gradients of any order by `backward` and `grad`, and
    running statistics are the same; values differ in their last bits. What PyTorch derives in
    other ways in training (forward mode, `torch.func`, scripts) needs `nn.Sequential`.

    Examples:
        >>> import torch
        >>> net = Layers(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU())
        >>> x = torch.rand(2, 1, 5, 5)
        >>> torch.allclose(net(x), nn.Sequential(*net)(x), atol=1e-5)
        True
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the base class's name)
        """Every layer's function in turn."""
        x, modules = input, list(self)
        while modules:
            module = modules.pop(0)
            slope = _slope(modules[0]) if modules else None
            compiled = None
            if slope is not None and type(module) is nn.BatchNorm2d and _fits(module, x):
                compiled = kernels()
            if compiled is None:
                x = module(x)
            else:
                del modules[0]
                x = _NormaliseAndRectify.apply(
                    x, module.weight, module.bias, module, slope, compiled
                )
        return x


def kernels() -> ctypes.CDLL | None:
    """The compiled operations; None where there are none, and `why_none` says why."""
    loaded = load_kernels()
    return None if isinstance(loaded, str) else loaded


def why_none() -> str:
    """What keeps the operations from being compiled or loaded; empty where nothing does."""
    loaded = load_kernels()
    return loaded if isinstance(loaded, str) else ""


@cache
def load_kernels() -> ctypes.CDLL | str:
    """The loaded library, or why there is none; compiled now, if it has never been."""
    if os.environ.get(OFF):
        return f"{OFF} is set"
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    if shutil.which(compiler[0]) is None:
        return f"there is no C++ compiler {compiler[0]}"
    cache = cache_dir()
    if cache is None:
        return "this user has no home folder to keep what is compiled in"
    machine = f"{device_name(torch.device('cpu'))} {sorted(torch.cpu.get_capabilities().items())}"
    try:
        recipe = "\n".join((SOURCE.read_text("utf-8"), machine, *compiler, *FLAGS))
        library = cache / f"fused-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.so"
        if not library.exists():
            _compile(compiler, library)
        try:
            return _load(library)
        except OSError:  # damaged, or made with a system library that this machine has not
            _compile(compiler, library)
            return _load(library)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return f"{compiler[0]} failed: {said[-1] if said else error.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)


def _load(library: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library))
    pointer, real, integer = ctypes.c_void_p, ctypes.c_double, ctypes.c_int
    loaded.fused_forward.argtypes = [
        integer, pointer, ctypes.c_long, integer, pointer, pointer, real, real, real,
        *[pointer] * 5, integer,
    ]  # fmt: skip
    loaded.fused_backward.argtypes = [
        integer, pointer, pointer, ctypes.c_long, integer, *[pointer] * 4, real,
        *[pointer] * 3, integer,
    ]  # fmt: skip
    return loaded


def _compile(compiler: list[str], library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        built = Path(folder) / library.name
        subprocess.run(
            [*compiler, *FLAGS, str(SOURCE), "-o", str(built)],
            check=True, capture_output=True, timeout=COMPILE_S,
        )  # fmt: skip
        built.replace(library)


def _slope(module: nn.Module) -> float | None:
    """What a rectifier multiplies negative values by; None for other modules."""
    if _hooked(module):
        return None
    if type(module) is nn.LeakyReLU:
        return module.negative_slope
    return 0.0 if type(module) is nn.ReLU else None


def _hooked(module: nn.Module) -> bool:
    """Whether something is to be called before or after it, which may change its weights too."""
    return any(
        getattr(module, f"_{hooks}")
        for hooks in ("forward_pre_hooks", "forward_hooks", "backward_pre_hooks", "backward_hooks")
    )


def _fits(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether the compiled operation can take this normalisation and its input."""
    values = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return (
        norm.training
        and norm.track_running_stats
        and norm.momentum is not None
        and not _hooked(norm)
        and all(_plain(v, norm.num_features) for v in values)
        and x.device.type == "cpu"
        and x.dtype in (torch.bfloat16, torch.float32)
        and type(x) is Tensor
        and not torch.compiler.is_compiling()
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > norm.num_features  # else PyTorch's own complains
        and x.size(1) == norm.num_features
    )


def _plain(values: Tensor | None, count: int) -> bool:
    """Whether these are so many float32 values in the processor's memory, one after the other."""
    return (
        values is not None
        and values.dtype == torch.float32
        and values.shape == (count,)
        and values.device.type == "cpu"
        and values.is_contiguous()
    )


class _NormaliseAndRectify(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, slope: float,
        compiled: ctypes.CDLL,
    ) -> Tensor:  # fmt: skip
        y = torch.empty_like(x)
        mean, inverse = torch.empty_like(weight), torch.empty_like(weight)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        compiled.fused_forward(
            x.dtype == torch.bfloat16, x.data_ptr(), x.numel() // len(weight), len(weight),
            weight.data_ptr(), bias.data_ptr(), norm.eps, slope, norm.momentum, y.data_ptr(),
            mean.data_ptr(), inverse.data_ptr(), norm.running_mean.data_ptr(),
            norm.running_var.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.eps, ctx.slope, ctx.compiled = norm.eps, slope, compiled
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        dy = gradients[0].to(x.dtype)
        if torch.is_grad_enabled():  # the gradient will itself be differentiated
            h = functional.batch_norm(x, None, None, weight, bias, True, eps=ctx.eps)
            y = functional.leaky_relu(h, ctx.slope)
            differentiated = [t for t in (x, weight, bias) if t.requires_grad]
            inner = iter(torch.autograd.grad(y, differentiated, dy, create_graph=True))
            return (
                *(next(inner) if t.requires_grad else None for t in (x, weight, bias)),
                None, None, None,
            )  # fmt: skip
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx, dweight, dbias = (torch.empty_like(t) for t in (x, weight, bias))
        ctx.compiled.fused_backward(
            x.dtype == torch.bfloat16, x.data_ptr(), dy.data_ptr(), x.numel() // len(weight),
            len(weight), weight.data_ptr(), bias.data_ptr(), mean.data_ptr(), inverse.data_ptr(),
            ctx.slope, dx.data_ptr(), dweight.data_ptr(), dbias.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return dx, dweight, dbias, None, None, None
