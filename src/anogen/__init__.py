"""anogen: train, compare and deploy generative models, and detect what they have never seen."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anogen.data.catalog import DATASETS, load_data
    from anogen.data.corruptions import CORRUPTIONS, corrupt
    from anogen.data.images import Images, Splits, images_from_array, split
    from anogen.detection.detector import Detector
    from anogen.detection.estimators import OutlierDetector, PyODDetector
    from anogen.detection.explain import Explanation, explain
    from anogen.detection.scores import SCORES
    from anogen.errors import AnogenError
    from anogen.evaluation.evaluate import evaluate
    from anogen.evaluation.generation import evaluate_generation, measure_samples
    from anogen.models import MODELS
    from anogen.models.base import GenerativeModel, Losses
    from anogen.models.gan import GAN
    from anogen.models.ncpvae import NCPVAE
    from anogen.models.sampling import MixtureSampler
    from anogen.models.stylegan import StyleGAN
    from anogen.models.vae import VAE
    from anogen.models.vaegan import VAEGAN
    from anogen.run import Run
    from anogen.training.fit import fit

_HOMES = {
    "DATASETS": "data.catalog",
    "load_data": "data.catalog",
    "CORRUPTIONS": "data.corruptions",
    "corrupt": "data.corruptions",
    "Images": "data.images",
    "Splits": "data.images",
    "images_from_array": "data.images",
    "split": "data.images",
    "Detector": "detection.detector",
    "Explanation": "detection.explain",
    "explain": "detection.explain",
    "OutlierDetector": "detection.estimators",
    "PyODDetector": "detection.estimators",
    "SCORES": "detection.scores",
    "AnogenError": "errors",
    "evaluate": "evaluation.evaluate",
    "evaluate_generation": "evaluation.generation",
    "measure_samples": "evaluation.generation",
    "MODELS": "models",
    "GenerativeModel": "models.base",
    "Losses": "models.base",
    "GAN": "models.gan",
    "NCPVAE": "models.ncpvae",
    "MixtureSampler": "models.sampling",
    "StyleGAN": "models.stylegan",
    "VAE": "models.vae",
    "VAEGAN": "models.vaegan",
    "Run": "run",
    "fit": "training.fit",
}

__version__ = "0.1.0"
__all__ = [
    "CORRUPTIONS",
    "DATASETS",
    "GAN",
    "MODELS",
    "NCPVAE",
    "SCORES",
    "VAE",
    "VAEGAN",
    "AnogenError",
    "Detector",
    "Explanation",
    "GenerativeModel",
    "Images",
    "Losses",
    "MixtureSampler",
    "OutlierDetector",
    "PyODDetector",
    "Run",
    "Splits",
    "StyleGAN",
    "corrupt",
    "evaluate",
    "evaluate_generation",
    "explain",
    "fit",
    "images_from_array",
    "load_data",
    "measure_samples",
    "split",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import anogen` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anogen' has no attribute {name!r}")
    return getattr(import_module(f"anogen.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
