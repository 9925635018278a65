"""What models are conditional on, taken from images: labels or captions."""

from dataclasses import replace

from torch import Tensor

from anogen.data.batches import conditions_of
from anogen.data.images import Images, has_captions
from anogen.data.splits import Splits
from anogen.errors import DataError
from anogen.models.base import Model


def shown_to(model: Model, images: Images) -> Images:
    """The images with what the model is conditional on: without labels, or without captions.

    Raises:
        DataError: they have no captions, and the model takes texts.
    """
    if not model.takes_text:
        return images if images.captions is None else replace(images, captions=None)
    if not has_captions(images):
        raise DataError(
            f"{images.name}: has no captions, and this model takes texts; give pictures with a "
            "metadata.csv (file_name, text) or a text file beside each, or train with text 0"
        )
    return replace(images, labels=None, classes=(), things=None)


def all_shown_to(model: Model, data: Splits) -> Splits:
    """`shown_to` of the images that are learnt from and validated with.

    Raises:
        DataError: either have no captions, and the model takes texts.
    """
    train, validation = shown_to(model, data.train), shown_to(model, data.validation)
    return replace(data, train=train, validation=validation)


def conditions_for(model: Model, images: Images) -> Tensor | None:
    """The condition of each image, on the processor: its label, or its first caption.

    Returns:
        int64 `[n]`, or of a model that takes texts tokens `[n, length]`; None of a model without
        conditions, and of images without labels.
    """
    return conditions_of(shown_to(model, images)) if model.condition.size else None
