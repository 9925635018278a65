"""What models are conditional on, taken from images: labels or captions."""

from dataclasses import replace

from torch import Tensor

from anogen.data.batches import conditions_of
from anogen.data.images import Images
from anogen.data.splits import Splits
from anogen.errors import DataError
from anogen.models.base import Model


def shown_to(model: Model, images: Images) -> Images:
    """The images with what the model is conditional on: to one that takes texts, without labels.

    Raises:
        DataError: they have no captions, and the model takes texts.
    """
    if not model.takes_text:
        return images
    if images.captions is None:
        raise DataError(
            f"{images.name}: has no captions, and this model takes texts; give pictures with a "
            "metadata.csv (file_name, text) or a text file beside each, or train with text 0"
        )
    return replace(images, labels=None, classes=(), things=None)


def all_shown_to(model: Model, data: Splits) -> Splits:
    """`shown_to` of all parts.

    Raises:
        DataError: there are no captions, or all are empty, and the model takes texts.
    """
    if not model.takes_text:
        return data
    parts = [shown_to(model, part) for part in (data.train, data.validation, data.test)]
    captions = parts[0].captions
    if captions is None or not any(text.strip() for texts in captions for text in texts):
        raise DataError(f"{data.name}: all captions are empty, and this model takes texts")
    return replace(data, train=parts[0], validation=parts[1], test=parts[2])


def conditions_for(model: Model, images: Images) -> Tensor | None:
    """The condition of each image, on the processor: its label, or its first caption.

    Returns:
        int64 `[n]`, or of a model that takes texts tokens `[n, length]`; None of a model without
        conditions, and of images without labels.
    """
    return conditions_of(shown_to(model, images)) if model.condition.size else None
