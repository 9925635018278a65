"""Pictures for a text, and texts for a picture, by a model that has learnt how well they fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from anogen.data.images import Images
from anogen.data.pictures import PICTURE_SUFFIXES
from anogen.data.sources import find_sources, read_chunks
from anogen.errors import DataError, UsageError
from anogen.models.asking import likeness
from anogen.progress import Progress
from anogen.run import Run


@dataclass(frozen=True)
class Found:
    """One picture, and how well it fits each of some texts.

    Attributes:
        file: its path.
        index: its place in a file of several, from 0; None for a picture.
        fits: cosines, one for each text, from −1 to 1.
        error: why there is none.
    """

    file: str
    index: int | None
    fits: tuple[float, ...]
    error: str = ""


def search(
    run: str | Path | Run,
    texts: str | Sequence[str],
    files: str | Path | Sequence[str | Path],
    *,
    checkpoint: str | None = None,
    device: str = "cpu",
    allow_code: bool = False,
) -> list[Found]:
    """How well pictures fit texts, as the model of a run judges it.

    Cosines compare with one another for one text; they are no probabilities.

    Args:
        run: of a model that was trained with texts.
        texts: one, or several.
        files: pictures, folders of pictures, `.npy`, `.npz` or IDX files; pictures are read as
            those that the run was trained on.
        checkpoint: `best` or `last`; default: the best one where there is one.
        device: `cpu`, `cuda` or `cuda:N`.
        allow_code: as in `Run.load_model`.

    Returns:
        Each picture in the order of `files`; one that cannot be read has its error.

    Raises:
        UsageError: the model takes no texts, or an empty one is given.
        DataError: there is no picture, or none can be read.

    Examples:
        >>> import tempfile, torch, anogen
        >>> from PIL import Image
        >>> folder = tempfile.mkdtemp()
        >>> images, _ = anogen.draw_scenes(60, anogen.load_data("digits").train)
        >>> data, _ = anogen.split(images), torch.manual_seed(0)
        >>> model = anogen.VAE(data.shape, text=8, width=4)
        >>> run = anogen.fit(model, data, folder + "/run", epochs=1)
        >>> Image.new("RGB", (48, 48)).save(folder + "/black.png")
        >>> [round(one.fits[0], 1) <= 1 for one in anogen.search(run, "a 7", folder + "/black.png")]
        [True]
    """
    run = run if isinstance(run, Run) else Run.open(run)
    model = run.load_model(checkpoint, allow_code=allow_code).eval().to(device)
    several = [texts] if isinstance(texts, str) else list(texts)
    tokens = model.asked(several)
    if not all(text.strip() for text in several):
        raise UsageError("an empty text fits everything; say what is looked for")
    sources = find_sources([files] if isinstance(files, str | Path) else list(files))
    found: list[Found] = []
    with torch.inference_mode(), Progress("looking", len(sources)) as bar:
        vector = model.condition(tokens)
        assert vector is not None
        for chunk in read_chunks(sources, model.shape, run.pictures):
            read = [item.pixels for item in chunk if item.pixels is not None]
            fits = iter(likeness(model, Images(np.stack(read), "files"), vector) if read else ())
            for item in chunk:
                own = () if item.error else tuple(next(fits).tolist())
                several = Path(item.file).suffix.lower() not in PICTURE_SUFFIXES
                place = item.index if several else None
                found.append(Found(item.file, place, own, item.error))
            bar.advance(len(chunk))
    if all(one.error for one in found):
        raise DataError(f"no picture could be read; the last: {found[-1].error}")
    return found
