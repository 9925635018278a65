"""Scores of files: one row for each image, a few at a time, to be resumed where it stopped."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from anogen.data.images import Images
from anogen.data.sources import Item, Sources, read_chunks
from anogen.detection.detector import Detector
from anogen.detection.rows import ScoreRow
from anogen.errors import DataError
from anogen.progress import Progress, silence

T = TypeVar("T")


def score_files(
    detector: Detector,
    sources: Sources,
    *,
    false_positive_rate: float = 0.01,
    skip: int = 0,
    strict: bool = False,
) -> Iterator[ScoreRow]:
    """One row for each image, in order; a few thousand images are held at a time.

    The next ones are read while the ones before are scored.

    Args:
        detector: a calibrated one; its `pictures` say how picture files are read.
        sources: from `find_sources`.
        false_positive_rate: by which labels are given.
        skip: images to leave out at the beginning: they were scored before.
        strict: raise at the first image that cannot be scored, instead of a row with its error.

    Raises:
        UsageError: a rate that the calibration cannot support.
        DataError: a bad image, where `strict`.
    """
    threshold = detector.calibration.threshold(false_positive_rate)
    shape = detector.model.shape
    chunks = read_chunks(sources, shape, detector.pictures, skip)
    with Progress("scoring", len(sources), done=skip) as bar:
        for chunk in _ahead(chunks):
            yield from _rows(detector, chunk, threshold, strict)
            bar.advance(len(chunk))
    detector.pictures.warn_of_unused_bits("the pictures to score")


def _ahead(chunks: Iterator[T]) -> Iterator[T]:
    """The same, each read while the one before is in use."""
    with ThreadPoolExecutor(1, "reader") as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _rows(
    detector: Detector, chunk: list[Item], threshold: float, strict: bool
) -> Iterator[ScoreRow]:
    bad = next((item.error for item in chunk if item.error), "")
    if bad and strict:
        raise DataError(bad)
    good = [item.pixels for item in chunk if item.pixels is not None]
    scores = iter(())
    if good:
        with silence():
            values = detector.score(Images(np.stack(good), "files"))
        p_values = detector.calibration.p_value(np.where(np.isnan(values), np.inf, values))
        scores = iter(zip(values, p_values, strict=True))
    for item in chunk:
        if item.pixels is None:
            yield ScoreRow(item.file, item.index, error=item.error)
            continue
        score, p_value = next(scores)
        if np.isfinite(score):
            label = int(score > threshold)
            yield ScoreRow(item.file, item.index, float(score), float(p_value), label)
        else:
            yield ScoreRow(item.file, item.index, error=f"the score is {score}; choose another one")
