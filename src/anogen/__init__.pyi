"""What `anogen` offers, each name imported when it is first used."""

from .data.catalog import DATASETS as DATASETS
from .data.catalog import load_data as load_data
from .data.columns import Columns as Columns
from .data.corruptions import CORRUPTIONS as CORRUPTIONS
from .data.corruptions import corrupt as corrupt
from .data.images import (
    Images as Images,
)
from .data.images import (
    images_from_array as images_from_array,
)
from .data.scenes import draw_scenes as draw_scenes
from .data.shapes import draw_shapes as draw_shapes
from .data.splits import (
    Splits as Splits,
)
from .data.splits import (
    split as split,
)
from .data.tables import Table as Table
from .detection.detector import Detector as Detector
from .detection.estimators import OutlierDetector as OutlierDetector
from .detection.estimators import PyODDetector as PyODDetector
from .detection.explain import Explanation as Explanation
from .detection.explain import explain as explain
from .detection.loading import Trained as Trained
from .detection.loading import load as load
from .detection.scores import SCORES as SCORES
from .errors import AnogenError as AnogenError
from .evaluation.disentanglement import disentanglement as disentanglement
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.generation import (
    evaluate_generation as evaluate_generation,
)
from .evaluation.generation import (
    measure_samples as measure_samples,
)
from .evaluation.texts import evaluate_texts as evaluate_texts
from .models import MODELS as MODELS
from .models.base import GenerativeModel as GenerativeModel
from .models.base import Losses as Losses
from .models.base import Model as Model
from .models.gan import GAN as GAN
from .models.mixture import MixtureSampler as MixtureSampler
from .models.ncpvae import NCPVAE as NCPVAE
from .models.restorer import Restorer as Restorer
from .models.sampling import PriorSampler as PriorSampler
from .models.stylegan import StyleGAN as StyleGAN
from .models.translator import Translator as Translator
from .models.vae import VAE as VAE
from .models.vaegan import VAEGAN as VAEGAN
from .restoration.restore import Restored as Restored
from .restoration.restore import Restoring as Restoring
from .restoration.restore import restore as restore
from .run import Run as Run
from .search import search as search
from .serving.client import Client as Client
from .training.fit import fit as fit
from .training.hooks import Hook as Hook
from .training.hooks import Training as Training
from .training.settings import TrainingSettings as TrainingSettings
from .translation.translate import Translated as Translated
from .translation.translate import translate as translate

__version__: str
