"""Generative models and the table that names them."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from anogen.device import own_randomness
from anogen.errors import UsageError, first_line, unknown_name
from anogen.models.base import Model
from anogen.models.gan import GAN
from anogen.models.ncpvae import NCPVAE
from anogen.models.restorer import Restorer
from anogen.models.stylegan import StyleGAN
from anogen.models.translator import Translator
from anogen.models.vae import VAE
from anogen.models.vaegan import VAEGAN

MODELS: dict[str, type[Model]] = {
    "VAE": VAE,
    "NCPVAE": NCPVAE,
    "GAN": GAN,
    "VAEGAN": VAEGAN,
    "StyleGAN": StyleGAN,
    "Restorer": Restorer,
    "Translator": Translator,
}
"""Every model by name; one of your own is named by its import path, `package.module.Class`."""


def find_model(name: str, allow_code: bool = False) -> type[Model]:
    """The class of a model by its name in `MODELS` or by its import path.

    Args:
        name: in the table, or the import path of a class.
        allow_code: follow a path that leads out of anogen. Importing a module runs it, so that a
            path from a file of somebody else's would run that person's code.

    Raises:
        UsageError: there is no such model, its path may not be followed, or it is no
            `Model`.
    """
    given: Any = name
    if not isinstance(given, str):
        raise UsageError(f"the name of a model is text, found {given!r}")
    if name in MODELS:
        return MODELS[name]
    module, _, attribute = name.rpartition(".")
    if not module:
        raise unknown_name("model", name, MODELS)
    if module.partition(".")[0] != "anogen" and not allow_code:
        raise UsageError(
            f"model {name!r} is not one of anogen's ({', '.join(MODELS)}); to import it, which "
            "runs the code of its module, give --allow_code (in Python allow_code=True)"
        )
    try:
        model: Any = getattr(import_module(module), attribute)
    except Exception as error:  # the module may do anything
        raise UsageError(
            f"model {name!r} cannot be imported: {type(error).__name__}: {first_line(error)} "
            "(expected module.Class, of a module in the working folder or installed)"
        ) from error
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise UsageError(f"{name} is not a subclass of anogen.Model")
    return model


def rebuild(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], allow_code: bool = False
) -> Model:
    """A model as a checkpoint describes it, with its weights, in evaluation mode.

    Nothing is drawn for first weights, which these replace: no generator moves, and nobody waits.

    Args:
        config: `class_path` and `init_args`; JSON has made a list of the shape.
        weights: from `state_dict`.
        allow_code: as in `find_model`.

    Raises:
        UsageError: what `find_model` or the model's constructor refuses.
        KeyError, TypeError, ValueError, RuntimeError: the description or the weights do not fit.
    """
    kind = find_model(config["class_path"], allow_code)
    arguments = {**config["init_args"], "shape": tuple(config["init_args"]["shape"])}
    with torch.inference_mode(False):
        weights = {name: w.clone() if w.is_inference() else w for name, w in weights.items()}
        try:
            with torch.device("meta"):
                model = kind(**arguments)
            model.load_state_dict(weights, assign=True)
            if not any(t.is_meta for t in (*model.parameters(), *model.buffers())):
                return model.eval()
        except (NotImplementedError, RuntimeError):  # it looks at its first weights
            pass
        with own_randomness():  # or it has tensors that are in no checkpoint
            model = kind(**arguments)
        model.load_state_dict(weights)
    return model.eval()


def model_name(model: Model) -> str:
    """The shortest name by which `find_model` finds the class of a model."""
    kind = type(model)
    short = kind.__name__
    return short if MODELS.get(short) is kind else f"{kind.__module__}.{kind.__qualname__}"
