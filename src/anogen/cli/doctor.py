"""`anogen doctor`: what is installed, what is found, what is wrong."""

import tempfile
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anogen.cli.model import add_model, named_models
from anogen.cli.options import Parser, deny_imports, new_parser, print_result, table
from anogen.errors import UsageError

PACKAGES = ("anogen", "torch", "numpy", "scipy", "scikit-learn", "matplotlib", "safetensors",
            "jsonargparse", "pillow", "pooch", "tensorboard", "torchvision")  # fmt: skip


DESCRIPTION = """Report versions, device, precision, data and known hazards; or a model's size.

  anogen doctor
  anogen doctor --json
  anogen doctor --model VAE --shape 3 128 128 --model.latent 32    parameters and operations"""


def main(arguments: list[str]) -> int:
    """Report; 5 where something is wrong that keeps anogen from working."""
    parser = new_parser("doctor", DESCRIPTION)
    parser.add_argument("--data_dir", help="where data sets lie")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--shape", nargs=3, type=int, default=[1, 28, 28],
                        help="with --model: channels, height and width of its images")  # fmt: skip
    names = named_models(arguments)
    if names or "--model" in arguments:
        return _show_cost(parser, arguments, names)
    if any(argument.partition("=")[0] == "--shape" for argument in arguments):
        raise UsageError("--shape is of a model's images; give --model too")
    parser.add_argument("--model", help="a model's name; --model.help NAME lists its options")
    options = parser.parse(arguments)
    report = examine(options["data_dir"])
    rows = [
        [key, str(value)] for key, value in report.items() if key not in ("versions", "hazards")
    ]
    rows += [[f"{name} version", version] for name, version in report["versions"].items()]
    rows += [["hazard", hazard] for hazard in report["hazards"]] or [["hazards", "none"]]
    print_result(report, options["json"], table(rows))
    return 5 if report["broken"] else 0


def _show_cost(parser: Parser, arguments: list[str], names: list[str]) -> int:
    """Parameters and operations of a model and its nets."""
    from anogen.device import memory_advice
    from anogen.models import MODELS, find_model
    from anogen.models.cost import cost

    for name in names:
        if name not in MODELS:
            find_model(name)
    deny_imports(except_from=[])
    add_model(parser, *names[:1])
    options = parser.parse(arguments)
    kind, shape = options["model"], tuple(options["shape"])
    with memory_advice("choose a smaller model"):
        model = find_model(kind["class_path"])(shape, **kind.get("init_args", {}))
        costs = cost(model)
    rows = [["net", "parameters", "operations per image"]]
    rows += [[name, f"{c.parameters:,}", f"{c.operations:,}"] for name, c in costs.items()]
    print_result({name: asdict(c) for name, c in costs.items()}, options["json"], table(rows))
    return 0


def examine(data_dir: str | None = None) -> dict[str, Any]:
    """Versions, device, data, folders and hazards, as JSON knows them."""
    from anogen.data.catalog import find
    from anogen.data.datasets import DATASETS, Published
    from anogen.folders import cache_dir

    versions = {name: _version(name) for name in PACKAGES}
    device = _device()
    cache = cache_dir()
    folders = {str(folder): _writable(folder) for folder in (Path.cwd(), cache) if folder}
    refused = [
        f"{folder} cannot be written" for folder, writable in folders.items() if not writable
    ]
    if cache is None:
        refused.append(
            "this user has no home folder, so nothing is kept in a cache: layers are not compiled, "
            "and evaluations train their classifier each time; set XDG_CACHE_HOME to a folder"
        )
    hazards = [*device.pop("hazards"), *_torchvision_hazard(versions), *refused]
    places = {
        f"data {name}": str(find(name, data_dir) or "not here; anogen data --fetch downloads it")
        for name, source in DATASETS.items()
        if isinstance(source, Published)
    }
    return {
        **device,
        **places,
        "writable folders": ", ".join(folder for folder, ok in folders.items() if ok) or "none",
        "versions": versions,
        "hazards": hazards,
        "broken": device["device"] == "none",
    }


def _device() -> dict[str, Any]:
    try:
        import torch

        from anogen.device import choose_device, choose_precision, usable_cores
        from anogen.nets.fused import why_none
    except Exception as error:  # a broken torch fails in many ways; all of them are the finding
        return {"device": "none", "hazards": [f"PyTorch cannot be imported: {error}"]}
    device = choose_device("auto")
    hazards: list[str] = []
    if device.type == "cpu" and torch.version.cuda and _has_nvidia():
        hazards.append(
            f"PyTorch is built for CUDA {torch.version.cuda} and there is a GPU, but it cannot be "
            "used; the driver is probably older than that"
        )
    if device.type == "cpu" and not torch.version.cuda and _has_nvidia():
        hazards.append("there is a GPU, but PyTorch is the CPU build; install its CUDA build")
    if device.type == "cpu":
        compiled = f"no, training is slower: {why}" if (why := why_none()) else "yes"
    else:
        compiled = "on the processor alone"
    threads = torch.get_num_threads()
    cores = usable_cores()
    if threads > cores:
        hazards.append(f"{threads} threads on {cores} cores; set OMP_NUM_THREADS={cores}")
    return {
        "device": str(device),
        "device name": torch.cuda.get_device_name(device) if device.type == "cuda" else "processor",
        "precision": str(choose_precision("auto", device)).removeprefix("torch."),
        "threads": threads,
        "compiled layers": compiled,
        "hazards": hazards,
    }


def _has_nvidia() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


def _torchvision_hazard(versions: dict[str, str]) -> list[str]:
    """A torchvision for CUDA beside a torch for the processor breaks at import."""
    if find_spec("torchvision") is None:
        return []
    try:
        import torchvision  # noqa: F401  # pyright: ignore
    except Exception as error:
        return [
            f"torchvision {versions['torchvision']} does not work with torch {versions['torch']} "
            f"({str(error).splitlines()[0]}); anogen does not need it, but packages that import "
            "it will fail: uninstall it, or install the one made for this torch"
        ]
    return []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, or in the nearest one that exists above it."""
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
