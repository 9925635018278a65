"""Work in stages, each kept as JSON and pictures, and not done again while its inputs stay."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from anogen.durable import replace_durably
from anogen.errors import AnogenError, Interrupted, MachineError
from anogen.progress import say
from anogen.report.gallery import Kept, Picture, keep_pictures, kept_pictures

T = TypeVar("T")
Made = tuple[dict[str, Any], list[Picture]]


@dataclass
class Stages:
    """The stages of one experiment in a folder.

    A stage that fails is noted in `failures`, and the others go on; an interruption ends them all.

    Attributes:
        folder: `stages/` and `figures/` come into it.
        failures: stage → its error.
        pictures: stage → what it has drawn.
        seconds: stage → how long it took when it was done.
    """

    folder: Path
    failures: dict[str, AnogenError] = field(default_factory=dict[str, AnogenError])
    pictures: dict[str, list[Kept]] = field(default_factory=dict[str, list[Kept]])
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def do(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[], Made]
    ) -> dict[str, Any] | None:
        """The result of a stage, made now or kept from before; None where it failed.

        Args:
            name: of the stage, which is its file's.
            inputs: all that the result depends on, as JSON; while they are equal, it is kept.
            make: gives the result and pictures.
        """
        kept = self._kept(name, dict(inputs))
        if kept is None:
            say(f"stage {name}")
            kept = self.attempt(name, lambda: self._make(name, dict(inputs), make))
        if kept is None:
            return None
        self.pictures[name] = kept_pictures(self.folder / "figures", name)
        self.seconds |= {name: kept["seconds"]} if "seconds" in kept else {}
        return kept["result"]

    def attempt(self, name: str, make: Callable[[], T]) -> T | None:
        """What a piece of work gives; None where it failed, which is noted."""
        try:
            return make()
        except Interrupted:
            raise
        except AnogenError as error:
            self._note(name, error)
        except Exception as error:  # after hours of work, not even a mistake of ours may end it all
            unexpected = AnogenError(f"unexpected {type(error).__name__}: {error}")
            unexpected.__cause__ = error
            self._note(name, unexpected)
        return None

    def _note(self, name: str, error: AnogenError) -> None:
        say(f"stage {name} failed: {error}")
        self.failures[name] = error

    def _kept(self, name: str, inputs: dict[str, Any]) -> dict[str, Any] | None:
        try:
            kept = json.loads((self.folder / "stages" / f"{name}.json").read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        same = kept.get("inputs") == json.loads(json.dumps(inputs))
        try:
            drawn = len(kept_pictures(self.folder / "figures", name))
        except MachineError:  # a damaged list: the stage is done again
            return None
        return kept if same and drawn == kept.get("pictures") else None

    def _make(self, name: str, inputs: dict[str, Any], make: Callable[[], Made]) -> dict[str, Any]:
        started = time.monotonic()
        result, pictures = make()
        seconds = round(time.monotonic() - started, 3)
        path = self.folder / "stages" / f"{name}.json"
        path.unlink(missing_ok=True)  # the old result must not stand beside new pictures
        named = [replace(picture, name=f"{name}-{picture.name}") for picture in pictures]
        keep_pictures(named, self.folder / "figures", name)
        kept = {"inputs": inputs, "result": result, "pictures": len(pictures),
                "seconds": seconds}  # fmt: skip
        text = json.dumps(kept, indent=1, allow_nan=False) + "\n"
        replace_durably(path, text.encode())
        return kept
