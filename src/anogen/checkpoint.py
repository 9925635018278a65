"""Folders of tensors and JSON, whole or not there at all, checked by hash; never a pickle.

A checkpoint folder holds `*.safetensors`, `state.json` and `manifest.json`, which has the size and
SHA-256 of each. It is written aside, flushed to disk and renamed, so that a crash at any moment
leaves the old one, the new one, or the old one under the name `previous`.
"""

import errno
import glob
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import struct
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from anogen.errors import MachineError, UsageError

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors that more room would help against."""
MAX_HEADER_BYTES = 1_000_000
"""A safetensors header larger than this is refused before it is parsed."""
MAX_JSON_BYTES = 50_000_000
SWAP_S = 2.0
"""Longest time that a reader waits for a writer that is putting a checkpoint in its place."""

Tensors = Mapping[str, Tensor]


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensors], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; what stood at `folder` stays as `previous` beside it.

    Args:
        folder: where it shall stand.
        tensors: file stem → named tensors, for example `{"weights": model.state_dict()}`.
        state: anything that JSON can hold.

    Raises:
        MachineError: the disk is full or refuses; the old checkpoint is untouched.
    """
    files = {f"{stem}.safetensors": _to_bytes(named) for stem, named in tensors.items()}
    files[STATE] = json.dumps(dict(state), indent=1, allow_nan=False).encode()
    manifest = {
        "format": FORMAT,
        "files": {name: _fingerprint(content) for name, content in files.items()},
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    aside = aside_of(folder)
    try:
        aside.mkdir(parents=True)
        for name, content in files.items():
            write_durably(aside / name, content)
        _flush(aside)
        _swap(aside, folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        needed = sum(map(len, files.values()))
        raise MachineError(
            f"{folder}: cannot save the checkpoint ({error.strerror}; {needed:,} bytes needed)"
            + ("; free some space, then go on" if error.errno in FULL else "")
        ) from error


def load_checkpoint(
    folder: Path, stems: tuple[str, ...] | None = None
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors of the files named by `stems` (default: all) and the state of a checkpoint.

    Every file is compared with the manifest before anything in it is parsed. Where a writer puts
    another checkpoint in its place meanwhile, that one is read.

    Raises:
        MachineError: missing, damaged, or not a checkpoint; the message names the file.
    """
    until = time.monotonic() + SWAP_S
    while True:
        before = _identity(folder)
        try:
            return _load(folder, stems)
        except MachineError:
            moved = _identity(folder) != before or (
                before is None and _identity(previous_of(folder)) is not None
            )
            if not moved or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _load(
    folder: Path, stems: tuple[str, ...] | None
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    recorded = _read_manifest(folder)
    wanted = [name for name in recorded if name != STATE]
    if stems is not None:
        wanted = [f"{stem}.safetensors" for stem in stems]
    contents = {name: _read_checked(folder, name, recorded) for name in (*wanted, STATE)}
    state = parse_json(contents.pop(STATE), folder / STATE)
    return {
        name.removesuffix(".safetensors"): _from_bytes(folder / name, content)
        for name, content in contents.items()
    }, state


def _identity(folder: Path) -> tuple[int, ...] | None:
    """What tells a folder from another that stood or will stand under its name."""
    try:
        about = folder.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_ctime_ns


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
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MachineError(f"{path}: damaged, not valid JSON") from error
    if not isinstance(found, dict):
        raise MachineError(f"{path}: damaged, not a JSON object")
    return found


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
        _flush(path.parent)
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


def hash_of_tensors(named: Tensors) -> str:
    """SHA-256 of named tensors, whatever their order and device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _swap(aside: Path, folder: Path) -> None:
    """Two renames; between them the old checkpoint stands under the name `previous`."""
    previous = previous_of(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    aside.rename(folder)
    _flush(folder.parent)


def put_aside(folder: Path) -> None:
    """Rename a damaged checkpoint, so that the next one does not push the one before it out."""
    if folder.exists():
        damaged = folder.with_name(f"{folder.name}.damaged")
        shutil.rmtree(damaged, ignore_errors=True)
        folder.rename(damaged)


def previous_of(folder: Path) -> Path:
    """Where the checkpoint that stood at `folder` before the last save lies."""
    return folder.with_name(f"{folder.name}.previous")


def _flush(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _to_bytes(named: Tensors) -> bytes:
    return safetensors.torch.save({key: value.contiguous().cpu() for key, value in named.items()})


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    if not folder.is_dir():
        raise MachineError(f"{folder}: there is no checkpoint")
    path = folder / MANIFEST
    _refuse_link(path)
    try:
        manifest = parse_json(read_regular(path), path)
    except MachineError as error:
        raise MachineError(f"{path}: missing or damaged ({error})") from error
    try:
        version, files = manifest["format"], manifest["files"]
        whole = all(
            set(entry) == {"bytes", "sha256"} and type(entry["bytes"]) is int
            for entry in files.values()
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise MachineError(f"{path}: damaged, it names no files") from error
    if version != FORMAT:
        raise MachineError(f"{folder}: format {version}, this version reads {FORMAT}")
    if not whole or STATE not in files or not all((folder / name).exists() for name in files):
        raise MachineError(f"{path}: damaged, or it does not name the files beside it")
    return files


def _refuse_link(path: Path) -> None:
    """A link in a checkpoint would read a file from elsewhere into it."""
    if path.is_symlink():
        raise MachineError(f"{path}: is a link; a checkpoint holds its files itself")


def _read_checked(folder: Path, name: str, recorded: dict[str, dict[str, Any]]) -> bytes:
    path = folder / name
    if name not in recorded or Path(name).name != name:
        raise MachineError(f"{path}: is missing from the checkpoint")
    _refuse_link(path)
    expected = recorded[name]
    content = read_regular(path, max(expected["bytes"], MAX_JSON_BYTES))
    if len(content) != expected["bytes"]:
        raise MachineError(f"{path}: {expected['bytes']} bytes expected, {len(content)} found")
    if hashlib.sha256(content).hexdigest() != expected["sha256"]:
        raise MachineError(f"{path}: does not match its SHA-256 in {MANIFEST}; it is damaged")
    return content


def _from_bytes(path: Path, content: bytes) -> dict[str, Tensor]:
    header = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else MAX_HEADER_BYTES + 1
    if header > min(MAX_HEADER_BYTES, len(content)) or content[8:9] != b"{":
        raise MachineError(f"{path}: not a safetensors file, or its header is too large; refused")
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise MachineError(f"{path}: not a valid safetensors file ({error})") from error
