"""Folders of tensors and JSON, whole or not there at all, checked by hash; never a pickle.

A checkpoint folder holds `*.safetensors`, `state.json` and `manifest.json`, which has the size and
SHA-256 of each. It is written aside, flushed to disk and renamed, so that a crash at any moment
leaves the old one, the new one, or the old one under the name `previous`.
"""

import errno
import hashlib
import json
import shutil
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from anogen.durable import (
    MAX_JSON_BYTES,
    aside_of,
    flush_folder,
    parse_json,
    read_regular,
    write_durably,
)
from anogen.errors import MachineError

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors that more room would help against."""
MAX_HEADER_BYTES = 1_000_000
"""A safetensors header larger than this is refused before it is parsed."""
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
        flush_folder(aside)
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
    flush_folder(folder.parent)


def put_aside(folder: Path) -> None:
    """Rename a damaged checkpoint, so that the next one does not push the one before it out."""
    if folder.exists():
        damaged = folder.with_name(f"{folder.name}.damaged")
        shutil.rmtree(damaged, ignore_errors=True)
        folder.rename(damaged)


def previous_of(folder: Path) -> Path:
    """Where the checkpoint that stood at `folder` before the last save lies."""
    return folder.with_name(f"{folder.name}.previous")


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
