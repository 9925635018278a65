"""`anogen search`: pictures that fit a text, or texts that fit pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anogen.cli.options import new_parser, print_result, table
from anogen.errors import DataError, UsageError

if TYPE_CHECKING:
    from anogen.search import Found

DESCRIPTION = """Look for the pictures that fit a text best, as a run that was trained on captions
judges it; or, with --captions, for the texts that fit each picture.

  anogen search runs/scenes "a red seven on the left" pictures/
  anogen search runs/scenes "a red seven" big.npy --top 20 --json
  anogen search runs/scenes --captions captions.txt one.png other.png

The figures are cosines: higher fits better. They order the pictures for one text, or the texts for
one picture, and are no probabilities."""


def main(arguments: list[str]) -> int:
    """Search; prints the best, or with --json one object."""
    parser = new_parser("search", DESCRIPTION, "RUN TEXT FILE...")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("what", nargs="+", help="the text, then pictures, folders of them, .npy, "
                        ".npz or IDX files; with --captions files only")  # fmt: skip
    parser.add_argument("--captions", help="a file with a text in each line: say which of them fit "
                        "each picture")  # fmt: skip
    parser.add_argument("--top", type=int, help="how many to print; default: 10, or of captions 1")
    parser.add_argument("--checkpoint", help="best or last; default: best where there is one")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_allow_code()
    options = parser.parse(arguments)
    result = _search(options)
    rows = [[f"{row['fit']:.3f}", row["picture"], *([row["text"]] * bool(options["captions"]))]
            for row in result["found"]]  # fmt: skip
    lines = table([["fit", "picture", *(["text"] * bool(options["captions"]))], *rows])
    print_result(result, options["json"], lines)
    return DataError.exit_code if result["errors"] else 0


def _search(options: dict[str, Any]) -> dict[str, Any]:
    from anogen.data.text import texts_in
    from anogen.device import choose_device
    from anogen.progress import say
    from anogen.search import search

    captions, given = options["captions"], options["what"]
    if captions is None and len(given) < 2:
        raise UsageError("give a text, then files: anogen search RUN TEXT FILE...")
    texts = [given[0]] if captions is None else texts_in(Path(captions))
    top = options["top"] if options["top"] is not None else 10 if captions is None else 1
    if top < 1:
        raise UsageError(f"--top must be at least 1, found {top}")
    found = search(
        options["run"],
        texts,
        given[1:] if captions is None else given,
        checkpoint=options["checkpoint"],
        device=str(choose_device(options["device"])),
        allow_code=options["allow_code"],
    )
    for one in found:
        if one.error:
            say(f"warning: {one.error}")
    good = [one for one in found if not one.error]
    rows = _pictures(good, texts[0], top) if captions is None else _texts(good, texts, top)
    return {"pictures": len(found), "errors": len(found) - len(good), "found": rows}


def _pictures(found: "list[Found]", text: str, top: int) -> list[dict[str, Any]]:
    best = sorted(found, key=lambda one: -one.fits[0])[:top]
    return [{"picture": _name(one), "text": text, "fit": one.fits[0]} for one in best]


def _texts(found: "list[Found]", texts: list[str], top: int) -> list[dict[str, Any]]:
    return [
        {"picture": _name(one), "text": text, "fit": fit}
        for one in found
        for fit, text in sorted(zip(one.fits, texts, strict=True), reverse=True)[:top]
    ]


def _name(one: "Found") -> str:
    return one.file if one.index is None else f"{one.file}[{one.index}]"
