"""Generative models and the table that names them."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

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


def find_model(name: str) -> type[GenerativeModel]:
    """The class of a model by its name in `MODELS` or by its import path.

    Raises:
        UsageError: there is no such model, or it is no `GenerativeModel`.
    """
    if name in MODELS:
        return MODELS[name]
    module, _, attribute = name.rpartition(".")
    if not module:
        raise unknown_name("model", name, MODELS)
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"model {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, GenerativeModel)):
        raise UsageError(f"{name} is not a subclass of anogen.GenerativeModel")
    return found


def build_model(class_path: str, init_args: Mapping[str, Any]) -> GenerativeModel:
    """A model as a checkpoint describes it; JSON has made a list of its shape.

    Raises:
        UsageError: what `find_model` refuses.
    """
    return find_model(class_path)(**{**init_args, "shape": tuple(init_args["shape"])})


def model_name(model: GenerativeModel) -> str:
    """The shortest name by which `find_model` finds the class of a model."""
    kind = type(model)
    short = kind.__name__
    return short if MODELS.get(short) is kind else f"{kind.__module__}.{kind.__qualname__}"
