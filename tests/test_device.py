"""What the machine can do, and what may not be assumed of it."""

import os
import pickle
import subprocess
import sys

import pytest
import torch

from anogen import device
from anogen.device import fast_bfloat16, is_starved, own_randomness
from anogen.errors import DivergenceError


@pytest.mark.parametrize(
    "forbidden",
    [{"ONEDNN_MAX_CPU_ISA": "AVX2"}, {"ATEN_CPU_CAPABILITY": "avx2"},
     {"ATEN_CPU_CAPABILITY": "default"}],
    ids=str,
)  # fmt: skip
def test_instructions_that_are_forbidden_are_not_counted_on(forbidden):
    script = (
        "import torch; from anogen.device import fast_bfloat16, choose_precision\n"
        "cpu = torch.device('cpu'); print(fast_bfloat16(cpu), choose_precision('auto', cpu))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | forbidden,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split() == ["False", "torch.float32"]


def test_a_pytorch_that_keeps_its_abilities_to_itself_is_believed_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert fast_bfloat16(torch.device("cpu"))


def test_the_generator_and_the_settings_are_the_caller_s_again():
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), own_randomness():
            torch.manual_seed(0)
            made = torch.rand(3, requires_grad=True)
            assert made.dtype == torch.float32
            made.sum().backward()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_process_forked_from_within_can_draw_too():
    script = (
        "import os, threading, torch\n"
        "from anogen.device import own_randomness\n"
        "held, done = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with own_randomness():\n"
        "        held.set(); done.wait()\n"
        "threading.Thread(target=hold, daemon=True).start(); held.wait()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    with own_randomness(): os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])); done.set()"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True,
                          text=True, timeout=120, check=True)  # fmt: skip
    assert done.stdout.strip() == "7"


def test_lack_of_memory_is_known_by_what_is_said():
    assert is_starved(MemoryError())
    assert is_starved(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert is_starved(RuntimeError("can't start new thread"))
    assert not is_starved(RuntimeError("size mismatch"))


def test_an_error_of_training_survives_a_pickle():
    error = DivergenceError("a loss is not finite", "kept elsewhere", "Try less")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "a loss is not finite. kept elsewhere. Try less"
    assert str(DivergenceError("a loss", "", "Try less")) == "a loss. Try less"


@pytest.mark.parametrize(("idle", "whole", "chosen"), [(40, 40, 4), (20, 40, 2), (1, 40, 1)])
def test_busy_cores_are_left_to_others(monkeypatch, idle, whole, chosen):
    ticks = iter([(100.0, 1000.0), (100.0 + idle, 1000.0 + whole)])
    monkeypatch.setattr(device, "_core_seconds", lambda: next(ticks))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert device.choose_threads() == 4  # the user has decided
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert device.choose_threads() == chosen


def test_a_system_that_does_not_tell_its_load_gets_all_threads(monkeypatch):
    monkeypatch.setattr(device, "_core_seconds", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert device.choose_threads() == 4


def test_threads_are_as_before_after_the_block():
    before = torch.get_num_threads()
    with device.in_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
