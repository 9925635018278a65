"""`anogen train`: data, a model and settings → a run folder."""

from importlib.resources import files
from pathlib import Path

from anogen.cli.options import Parser, new_parser
from anogen.errors import UsageError, unknown_name

DESCRIPTION = """Train a model into a run folder.

Settings come, later ones winning, from a preset, a YAML file and options:
  anogen train --preset paper --data mnist --run runs/paper
  anogen train --model VAE --model.latent 16 --data my/pictures --epochs 5 --run runs/mine
  anogen train --run runs/mine --resume
The options of a model: anogen train --model.help VAE"""


def main(arguments: list[str]) -> int:
    """Train; prints where the run is."""
    options = _parser().parse(_expand(arguments))
    import torch

    from anogen.data.catalog import load_data
    from anogen.models import find_model
    from anogen.training.fit import fit

    for key in ("config", "preset"):
        options.pop(key, None)
    chosen = options.pop("model")
    keys = ("data", "data_dir", "image_size", "resize", "channels")
    data = load_data(**{key: options.pop(key) for key in keys})
    torch.manual_seed(options["seed"])
    model = find_model(chosen["class_path"])(data.shape, **chosen.get("init_args", {}))
    run = fit(model, data, **options)
    print(run.path)
    return 0


def presets() -> dict[str, Path]:
    """Name → file of every preset that comes with the package."""
    folder = Path(str(files("anogen") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _parser() -> Parser:
    from anogen.data.catalog import load_data
    from anogen.models.base import GenerativeModel
    from anogen.training.fit import fit

    parser = new_parser("train", DESCRIPTION)
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    parser.add_argument("--preset", help=f"settings that come with anogen: {', '.join(presets())}")
    parser.add_subclass_arguments(
        GenerativeModel, "model", skip={"shape"}, default={"class_path": "VAE"},
        instantiate=False, help="the model: a name or an import path",
    )  # fmt: skip
    parser.add_function_arguments(load_data)
    parser.add_function_arguments(fit, skip={"model", "data"})
    return parser


def _expand(arguments: list[str]) -> list[str]:
    """`--preset NAME` becomes its file; `--resume` brings the run's own configuration."""
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--preset" or argument.startswith("--preset="):
            name = argument.partition("=")[2] or next(rest, "")
            if name not in presets():
                raise unknown_name("preset", name, presets())
            expanded += ["--config", str(presets()[name])]
        else:
            expanded.append(argument)
        _refuse_unknown_model(expanded)
    if "--resume" in arguments or "--resume=true" in arguments:
        expanded = ["--config", str(_config_of(arguments)), *expanded]
    return expanded


def _refuse_unknown_model(arguments: list[str]) -> None:
    """A plain name must be in the table; import paths and configurations are the parser's."""
    from anogen.models import find_model

    before, last = ["", *arguments][-2:]
    name = last.partition("=")[2] if last.startswith("--model=") else last
    if (before == "--model" or last.startswith("--model=")) and name.isidentifier():
        find_model(name)


def _config_of(arguments: list[str]) -> Path:
    """The configuration of the run that is to be resumed."""
    from anogen.run import Run

    for index, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == "--run":
            value = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            return Run.open(value).path / "config.yaml"
    raise UsageError("--resume needs --run, the folder of the run to go on with")
