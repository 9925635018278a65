"""Which model a command line or a configuration names, known before anything is imported."""

from pathlib import Path
from typing import TYPE_CHECKING

from anogen.cli.options import MAX_BRACKETS, underscored
from anogen.configuration import load_yaml
from anogen.errors import UsageError

if TYPE_CHECKING:
    from anogen.cli.options import Parser


def add_model(parser: "Parser", default: str = "VAE") -> None:
    """The options `--model` and `--model.…`, from the signatures of all models.

    Args:
        parser: gets them.
        default: the model, if no other is named. A model that is named takes over values of this
            one for options of the same name, so that it should be the one that will be named.
    """
    from anogen.models.base import Model

    parser.add_subclass_arguments(
        Model, "model", skip={"shape"}, default={"class_path": default},
        instantiate=False, help="the model: a name or an import path",
    )  # fmt: skip


def named_models(arguments: list[str]) -> list[str]:
    """Every name or import path of a model in options and configurations, before any is imported.

    A path in a file, such as a run's config.yaml, is somebody's who may not be trusted.
    """
    named = [*values_of("--model", arguments), *values_of("--model.class_path", arguments)]
    named += values_of("--model.help", arguments)
    named += [model_of(Path(config)) for config in values_of("--config", arguments)]
    return [_class_path(name) for name in named if name and not name.startswith("-")]


def _class_path(value: str) -> str:
    """The name in a value of `--model`, which may be a table in YAML or JSON."""
    import yaml

    if not value.startswith("{") or value.count("{") > MAX_BRACKETS:
        return value
    try:
        return str(yaml.safe_load(value)["class_path"])
    except (yaml.YAMLError, LookupError, TypeError, RecursionError):
        raise UsageError(f"--model {value}: expected a name or a class_path") from None


def model_of(config: Path) -> str:
    """The name of the model that a YAML file is for; empty where there is none."""
    settings = load_yaml(config)
    for name in ("allow_code", "preset"):
        if settings.get(name):
            raise UsageError(f"{config}: {name} belongs on the command line: --{name}")
    model = settings.get("model")
    named = model.get("class_path") if isinstance(model, dict) else model
    return named if isinstance(named, str) else ""


def value_of(option: str, arguments: list[str]) -> str:
    """The last value of `--option VALUE` or `--option=VALUE`; empty where it is not given."""
    return next(reversed(values_of(option, arguments)), "")


def values_of(option: str, arguments: list[str]) -> list[str]:
    """Every value of an option, in their order."""
    values: list[str] = []
    for index, argument in enumerate(arguments):
        name, mark, value = underscored(argument).partition("=")
        if name == option:
            following = arguments[index + 1 : index + 2]
            values += [value] if mark else following
    return values
