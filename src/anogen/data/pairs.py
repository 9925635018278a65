"""Which pictures of a folder show the same thing, each as its domain has it."""

from collections import Counter
from pathlib import Path

import numpy as np

from anogen.data.images import Labels
from anogen.data.layouts import Listing
from anogen.errors import DataError, UsageError
from anogen.progress import say

BY_NAME = "names"


def things_of(listing: Listing, pairs: str) -> list[str]:
    """What each picture of a folder shows.

    Args:
        listing: with labels, which are the domains.
        pairs: `names`, for the paths within sub-folders, without the endings of files; or the name
            of a column of the metadata file, in which an empty cell is a thing of its own.

    Raises:
        UsageError: there is no such column, or there are no sub-folders.
        DataError: there are no domains or no pairs, or a domain shows a thing twice.
    """
    folder, labels = listing.folder, listing.labels
    if labels is None:
        raise DataError(
            f"{folder}: pairs need domains: a sub-folder for each, or the column label of a "
            "metadata file"
        )
    columns = listing.columns
    if columns is not None and pairs in columns and pairs != "label":
        things = [
            value or f"{path}" for value, path in zip(columns[pairs], listing.files, strict=True)
        ]
    elif pairs == BY_NAME:
        within = [path.relative_to(folder).with_suffix("").parts for path in listing.files]
        things = ["/".join(parts[1:] or parts) for parts in within]
    else:
        known = [BY_NAME, *(column for column in columns or {} if column != "label")]
        raise UsageError(f"pairs {pairs!r}: {folder} can be paired by {', '.join(known)}")
    times = Counter(zip(labels, things, strict=True))
    (domain, thing), most = times.most_common(1)[0]
    if most > 1:
        raise DataError(f"{folder}: {most} pictures of {domain} show {thing!r}; pairs need one")
    domains = Counter(thing for _, thing in times)
    alone = sum(count == 1 for count in domains.values())
    if alone == len(domains):
        raise DataError(
            f"{folder}: no picture has a partner in another domain by its {pairs.rstrip('s')}; "
            f"the first one is {things[0]!r} of {labels[0]}"
        )
    if alone:
        say(f"{folder}: {alone} of {len(things)} pictures have no partner in another domain")
    return things


def numbered(things: dict[str, list[str]]) -> dict[str, Labels]:
    """A number for each thing, int64 `[n]`: the same for the same of one part, others of others.

    >>> numbered({"train": ["cat", "dog", "cat"], "test": ["cat"]})
    {'train': array([0, 1, 0]), 'test': array([2])}
    """
    numbers: dict[str, Labels] = {}
    first = 0
    for part, shown in things.items():
        names, of_picture = np.unique(np.array(shown), return_inverse=True)
        numbers[part] = of_picture.astype(np.int64) + first
        first += len(names)
    return numbers


def refuse_parted(folder: Path, things: dict[str, list[str]], groups: dict[str, list[str]]) -> None:
    """Raise a `DataError` where pictures of one thing are of several groups, and may be parted."""
    for part, shown in things.items():
        of_thing: dict[str, str] = {}
        for thing, group in zip(shown, groups[part], strict=True):
            if of_thing.setdefault(thing, group) != group:
                raise DataError(
                    f"{folder}: pictures of {thing!r} are of the groups {of_thing[thing]!r} and "
                    f"{group!r}; a pair belongs to one"
                )
