"""`anogen train`: data, a model and settings → a run folder."""

from itertools import pairwise
from pathlib import Path

from anogen.cli.options import Parser, new_parser
from anogen.errors import UsageError, checked_seed
from anogen.presets import preset_file, presets

DESCRIPTION = """Train a model into a run folder.

Settings come from a preset, then YAML files and options in their order, later ones winning:
  anogen train --preset paper --data mnist --run runs/paper
  anogen train --model VAEGAN --preset recommended --run runs/vaegan
  anogen train --model VAE --model.latent 16 --data my/pictures --epochs 5 --run runs/mine
  anogen train --run runs/mine --resume
The options of a model: anogen train --model.help VAE"""


def main(arguments: list[str]) -> int:
    """Train; prints where the run is."""
    options = _parser().parse(_expand(arguments))
    import torch

    from anogen.data.catalog import load_data
    from anogen.models import find_model
    from anogen.run import DATA_OPTIONS
    from anogen.training.fit import fit

    options.pop("config", None)
    if options.pop("preset", None) is not None:
        raise UsageError("preset belongs on the command line: anogen train --preset NAME")
    if options["data"] is None:
        raise UsageError(
            f"{options['run']} was trained on arrays in memory; go on from Python with "
            "anogen.fit(..., resume=True)"
        )
    chosen = options.pop("model")
    data = load_data(**{key: options.pop(key) for key in DATA_OPTIONS})
    torch.manual_seed(checked_seed(options["seed"]))
    model = find_model(chosen["class_path"])(data.shape, **chosen.get("init_args", {}))
    run = fit(model, data, **options)
    print(run.path)
    return 0


def _parser() -> Parser:
    from anogen.data.catalog import load_data
    from anogen.models.base import GenerativeModel
    from anogen.training.fit import fit

    parser = new_parser("train", DESCRIPTION)
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    names = "; ".join(f"{model}: {', '.join(own)}" for model, own in presets().items())
    parser.add_argument("--preset", help=f"settings that come with anogen, for the model that "
                        f"--model or --config names, by default VAE. {names}")  # fmt: skip
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
    first: list[str] = []
    rest = iter(arguments)
    model = _value_of("--model", arguments) or _model_of(_value_of("--config", arguments)) or "VAE"
    for argument in rest:
        if argument == "--preset" or argument.startswith("--preset="):
            name = argument.partition("=")[2] or next(rest, "")
            _refuse_unknown_model("--model", model)
            first += ["--config", str(preset_file(model, name))]
        else:
            expanded += argument.split("=", 1) if argument.startswith("--config=") else [argument]
    for option, value in pairwise(expanded):
        _refuse_unknown_model(option, value)
        _refuse_aliases(option, value)
    if "--resume" in arguments or "--resume=true" in arguments:
        first += ["--config", str(_config_of(arguments))]
    return first + expanded


def _model_of(config: str) -> str:
    """The name of the model that a YAML file is for; empty where there is none."""
    import yaml

    if not Path(config).is_file():
        return ""
    _refuse_aliases("--config", config)
    try:
        content = yaml.safe_load(Path(config).read_text("utf-8"))
    except yaml.YAMLError:  # the parser will say what is wrong with it
        return ""
    model = content.get("model") if isinstance(content, dict) else None
    named = model.get("class_path") if isinstance(model, dict) else model
    return named.rpartition(".")[2] if isinstance(named, str) else ""


def _value_of(option: str, arguments: list[str]) -> str:
    """The value of `--option VALUE` or `--option=VALUE`; empty where it is not given."""
    for index, argument in enumerate(arguments):
        name, mark, value = argument.partition("=")
        if name == option:
            return value if mark else arguments[index + 1] if index + 1 < len(arguments) else ""
    return ""


def _refuse_unknown_model(option: str, value: str) -> None:
    """A plain name must be in the table; import paths and configurations are the parser's."""
    from anogen.models import find_model

    if option == "--model" and value.isidentifier():
        find_model(value)


def _refuse_aliases(option: str, value: str) -> None:
    """A configuration needs no YAML aliases, and a few lines of them can stand for gigabytes."""
    import yaml

    if option != "--config" or not Path(value).is_file():
        return
    try:
        events = yaml.parse(Path(value).read_text("utf-8"), yaml.SafeLoader)
        aliases = [event.anchor for event in events if isinstance(event, yaml.AliasEvent)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{value}: not valid YAML: {' '.join(str(error).split())}") from error
    if aliases:
        raise UsageError(f"{value}: has the YAML alias *{aliases[0]}; write its value out instead")


def _config_of(arguments: list[str]) -> Path:
    """The configuration of the run that is to be resumed."""
    from anogen.run import Run

    run = _value_of("--run", arguments)
    if not run:
        raise UsageError("--resume needs --run, the folder of the run to go on with")
    return Run.open(run).path / "config.yaml"
