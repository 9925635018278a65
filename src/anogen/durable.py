"""Files and folders that are whole or not there at all: written aside, flushed, renamed."""

import glob
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from anogen.errors import MachineError, UsageError

MAX_JSON_BYTES = 50_000_000


def read_regular(path: Path, most: int = MAX_JSON_BYTES) -> bytes:
    """The content of a regular file: a pipe or a device would keep the reader waiting.

    Raises:
        MachineError: it is missing, something else, longer than `most` bytes, or cannot be read.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise MachineError(f"{path}: not a regular file")
        if about.st_size > most:
            raise MachineError(f"{path}: more than {most:,} bytes; refused")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MachineError(f"{path}: is missing") from error
    except (OSError, ValueError) as error:
        if isinstance(error, MachineError):
            raise
        raise MachineError(f"{path}: cannot be read ({error})") from error


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON object in the content of a file.

    Raises:
        MachineError: it is damaged: no JSON, not UTF-8, nested too deep, or no object.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MachineError(f"{path}: damaged, not valid JSON") from error
    if not isinstance(value, dict):
        raise MachineError(f"{path}: damaged, not a JSON object")
    return value


@contextmanager
def locked(path: Path, busy: str) -> Generator[None]:
    """Hold a lock file for the block.

    The file is removed while it is still held, which is sound with a filelock that looks again
    whether the file that it has locked is still the one of that name, as 4.2.11 does.

    Raises:
        UsageError: another process or thread holds it; `busy` is the message.
        MachineError: it cannot be written.
    """
    lock = filelock.FileLock(path, timeout=0, is_singleton=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(busy) from None
    except (OSError, NotImplementedError) as error:
        raise MachineError(f"{path}: cannot be locked ({error})") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


def make_folder(folder: Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        MachineError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{folder}: cannot be made ({error.strerror})") from error
    return folder


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, content: bytes) -> None:
    """Put a file in the place of another in one step: readers see the old or the new one."""
    aside = aside_of(path)
    try:
        write_durably(aside, content)
        aside.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise MachineError(f"{path}: cannot be written ({error.strerror})") from error


def aside_of(path: Path) -> Path:
    """A name beside a path for what is to take its place, which no other writer uses.

    What processes that are no more have left there is removed.
    """
    start, own = f".{_short(path.name)}.", f"{_host()}-"
    for left in path.parent.glob(f"{glob.escape(start + own)}*.writing"):
        writer = left.name.removeprefix(start + own).split("-")[0]
        if writer.isdigit() and not _is_running(int(writer)):
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{start}{writer_mark()}.writing")


def writer_mark() -> str:
    """Host, process and a random number: no two writers share it, on shared storage either."""
    return f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"


def _host() -> str:
    return re.sub(r"[^0-9A-Za-z]", "", platform.node())[:32] or "localhost"


def _short(name: str) -> str:
    """The name, or its start and a hash where what is added would make it too long."""
    if len(os.fsencode(name)) <= 150:
        return name
    return f"{name[:30]}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _is_running(process: int) -> bool:
    if os.name == "nt":  # signal 0 would not ask there but interrupt
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
