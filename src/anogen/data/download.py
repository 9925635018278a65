"""Files fetched from mirrors, each checked against its published sum before it gets its name."""

import hashlib
from pathlib import Path
from typing import Any

from anogen.errors import DataError
from anogen.progress import Progress

DOWNLOAD_TIMEOUT_S = 10


def md5_of(path: Path) -> str:
    """The MD5 sum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def download(mirrors: tuple[str, ...], file: str, md5: str, folder: Path, tries: int) -> None:
    """One file, verified before it gets its name; every mirror in turn, each tried again.

    Raises:
        DataError: no mirror gave it; the message says how to place it by hand.
    """
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    failures: dict[str, str] = {}
    for _ in range(tries):
        for mirror in mirrors:
            try:
                # pooch's annotations are narrower than what it documents and accepts
                bar: Any = _DownloadBar(file)
                downloader: Any = pooch.HTTPDownloader(progressbar=bar, timeout=DOWNLOAD_TIMEOUT_S)
                pooch.retrieve(mirror + file, f"md5:{md5}", file, folder, downloader=downloader)
                return
            except (OSError, ValueError) as error:
                failures[mirror] = f"{mirror}: {str(error).splitlines()[0][:120]}"
    raise DataError(
        f"{file} could not be downloaded; place it by hand as {folder / file} "
        f"(MD5 {md5}). Tried {'; '.join(failures.values())}"
    )


class _DownloadBar:
    """Pooch's progress-bar contract, on our progress display."""

    def __init__(self, file: str) -> None:
        self.total = 0
        self._file = file
        self._bar: Progress | None = None

    def update(self, count: int) -> None:
        if self._bar is None:
            self._bar = Progress(f"downloading {self._file}", self.total, "bytes")
        self._bar.advance(count)

    def reset(self) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
