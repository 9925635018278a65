"""`anogen train`: data, a model and settings → a run folder."""

from pathlib import Path
from typing import Any

from anogen.cli.model import add_model, model_of, named_models, value_of, values_of
from anogen.cli.options import (
    Parser,
    allows_code,
    deny_imports,
    new_parser,
    search_working_folder,
)
from anogen.errors import UsageError, checked_seed
from anogen.presets import preset_file, presets
from anogen.progress import show

DESCRIPTION = """Train a model into a run folder.

Settings come from a preset, then YAML files and options in their order, later ones winning:
  anogen train --data my/pictures --image_size 64 --run runs/mine
  anogen train --model VAEGAN --preset recommended --data mnist --run runs/vaegan
  anogen train --model VAE --model.latent 16 --model.width 16 --epochs 5 --run runs/small
  anogen train --model GAN --preset text --data captioned/ --run runs/pictures
  anogen train --model Restorer --data my/photos --corruption gaussian_noise=0..0.2 --run runs/re
  anogen train --run runs/mine --resume
The options of a model: anogen train --model.help VAE"""

CORRUPTION = "--corruption"
"""A short name of the option of those models that learn to restore."""


def main(arguments: list[str]) -> int:
    """Train; prints where the run is."""
    if "--help" in arguments or "-h" in arguments:
        _parser(None).parse(["--help"])

    from anogen.device import memory_advice
    from anogen.models import find_model

    allow_code = allows_code(arguments)
    if allow_code:
        search_working_folder()
    expanded = _expand(arguments)
    named = named_models(expanded)
    for name in named:
        find_model(name, allow_code)
    packages = [name.partition(".")[0] for name in named if "." in name]
    deny_imports(except_from=packages)
    options = _parser(*named[:1]).parse(expanded, packages)
    import torch

    from anogen.data.catalog import load_data
    from anogen.run import DATA_OPTIONS, Run
    from anogen.training.fit import fit
    from anogen.training.settings import TrainingSettings

    options.pop("config", None)
    options.pop("allow_code")
    if options.pop(CORRUPTION.strip("-"), None) is not None:
        raise UsageError("in a configuration corruption is one of the model's init_args")
    if options.pop("preset", None) is not None:
        raise UsageError("preset belongs on the command line: anogen train --preset NAME")
    if options["data"] is None:
        raise UsageError(
            f"{options['run']} was trained on arrays in memory; go on from Python with "
            "anogen.fit(..., resume=True)"
        )
    if not options["resume"]:
        Run.vacant(options["run"])  # refused before any data is read
    data = load_data(**{key: options.pop(key) for key in DATA_OPTIONS})
    about = options.pop("model")
    torch.manual_seed(checked_seed(options["seed"]))
    kind = find_model(about["class_path"], allow_code)
    model_options: dict[str, Any] = about.get("init_args", {})
    if model_options.get("classes", 0) is None:
        model_options["classes"] = len(data.train.classes)
    with memory_advice("choose a smaller model"):
        model = kind(data.shape, **model_options)
    folder, resume = options.pop("run"), options.pop("resume")
    run = fit(model, data, folder, TrainingSettings(**options), resume=resume)
    show(run.shown)
    return 0


def _parser(model: str | None = "VAE") -> Parser:
    """The options; without a model, models are only named, which needs no PyTorch."""
    from anogen.data.catalog import load_data
    from anogen.training.settings import TrainingSettings

    parser = new_parser("train", DESCRIPTION)
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    names = "; ".join(f"{model}: {', '.join(own)}" for model, own in presets().items())
    parser.add_argument("--preset", help=f"settings that come with anogen, for the model that "
                        f"--model or --config names, by default VAE. {names}")  # fmt: skip
    if model is not None:
        add_model(parser, model)
    else:
        parser.add_argument("--model", help=f"the model: {', '.join(presets())}, or an import path "
                            "(default: VAE); --model.help NAME lists its options, such as "
                            "--model.latent 16")  # fmt: skip
    parser.add_argument(CORRUPTION, help="of a VAE, VAEGAN or Restorer: what images are damaged "
                        "by, so that it learns to restore them, such as gaussian_noise=0..0.2 or "
                        "blur=1+poisson_noise=20..100; anogen data lists all. The same as "
                        "--model.corruption")  # fmt: skip
    parser.add_argument("--run", required=True, help="a new folder, or with --resume the one to go "
                        "on with")  # fmt: skip
    parser.add_argument("--resume", type=bool, default=False,
                        help="go on with the run where its last checkpoint stands")  # fmt: skip
    parser.add_function_arguments(load_data)
    parser.add_class_arguments(TrainingSettings)
    parser.add_allow_code()
    return parser


def _expand(arguments: list[str]) -> list[str]:
    """`--preset NAME` becomes its file; `--resume` brings the run's own configuration."""
    expanded: list[str] = []
    first: list[str] = []
    rest = iter(arguments)
    configs = [model_of(Path(config)) for config in values_of("--config", arguments)]
    model = value_of("--model", arguments) or next(filter(None, reversed(configs)), "") or "VAE"
    for argument in rest:
        if argument == "--preset" or argument.startswith("--preset="):
            name = argument.partition("=")[2] or next(rest, "")
            _refuse_unknown_model(model)
            first += ["--config", str(preset_file(model.rpartition(".")[2], name))]
        elif argument == CORRUPTION or argument.startswith(f"{CORRUPTION}="):
            expanded.append(argument.replace(CORRUPTION, "--model.corruption", 1))
        else:
            expanded += argument.split("=", 1) if argument.startswith("--config=") else [argument]
    if "--resume" in arguments or "--resume=true" in arguments:
        first += ["--config", str(_config_of(arguments))]
    return first + expanded


def _refuse_unknown_model(name: str) -> None:
    """A plain name must be in the table."""
    from anogen.models import find_model

    if "." not in name:
        find_model(name)


def _config_of(arguments: list[str]) -> Path:
    """The configuration of the run that is to be resumed."""
    from anogen.run import Run

    run = value_of("--run", arguments)
    if not run:
        raise UsageError("--resume needs --run, the folder of the run to go on with")
    return Run.open(run).inside("config.yaml")
