"""Generative models and the table that names them."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from anogen.device import own_randomness
from anogen.errors import UsageError, unknown_name
from anogen.models.base import GenerativeModel
from anogen.models.gan import GAN
from anogen.models.ncpvae import NCPVAE
from anogen.models.stylegan import StyleGAN
from anogen.models.vae import VAE
from anogen.models.vaegan import VAEGAN

MODELS: dict[str, type[GenerativeModel]] = {
    "VAE": VAE,
    "NCPVAE": NCPVAE,
    "GAN": GAN,
    "VAEGAN": VAEGAN,
    "StyleGAN": StyleGAN,
}
"""Every model by name; one of your own is named by its import path, `package.module.Class`."""


def find_model(name: str, allow_code: bool = False) -> type[GenerativeModel]:
    """The class of a model by its name in `MODELS` or by its import path.

    Args:
        name: in the table, or the import path of a class.
        allow_code: follow a path that leads out of anogen. Importing a module runs it, so that a
            path from a file of somebody else's would run that person's code.

    Raises:
        UsageError: there is no such model, its path may not be followed, or it is no
            `GenerativeModel`.
    """
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
        found: Any = getattr(import_module(module), attribute)
    except Exception as error:  # the module may do anything
        raise UsageError(
            f"model {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, GenerativeModel)):
        raise UsageError(f"{name} is not a subclass of anogen.GenerativeModel")
    return found


def build_model(
    class_path: str, init_args: Mapping[str, Any], allow_code: bool = False
) -> GenerativeModel:
    """A model as a checkpoint describes it; JSON has made a list of its shape.

    Its first weights, which those of the checkpoint will replace, are drawn from nobody's generator
    and are float32, whatever the caller has set.

    Raises:
        UsageError: what `find_model` refuses.
    """
    kind = find_model(class_path, allow_code)
    with own_randomness():
        return kind(**{**init_args, "shape": tuple(init_args["shape"])})


def model_name(model: GenerativeModel) -> str:
    """The shortest name by which `find_model` finds the class of a model."""
    kind = type(model)
    short = kind.__name__
    return short if MODELS.get(short) is kind else f"{kind.__module__}.{kind.__qualname__}"
