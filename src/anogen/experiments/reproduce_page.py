"""The page of `anogen reproduce`, from its results and the pictures of its stages."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anogen.durable import replace_durably
from anogen.experiments.systems import SYSTEMS
from anogen.report.gallery import Kept
from anogen.report.page import render
from anogen.report.paper import TABLE_1, TABLE_2

Pictures = Mapping[str, Sequence[Kept]]

COLUMNS = {
    "squared_error": ("squared error", "summed over pixels"),
    "cosine_similarity": ("cosine", "similarity"),
    "kl_nats": ("KL", "nats"),
    "sharpness_samples": ("sharpness", "of samples"),
    "frechet_distance": ("Fréchet", "distance"),
    "mixture_frechet_distance": ("Fréchet, mixture", "distance"),
    "precision": ("precision", "of samples"),
    "recall": ("recall", "of samples"),
    "classes_covered": ("classes", "among samples"),
    "class_kl_nats": ("KL of classes", "nats"),
}
"""What the wider table shows of each system."""
TABLE_2_SCORES = ("squared_error", "negative_elbo", "fused")
PAPER_FIGURES = (
    (4, "the VAE's images after training", "measure-vae-0", "reconstructions",
     "The paper finds its own somewhat blurred: look at thin strokes, and for images that come "
     "back as another class."),
    (5, "the VAE's loss against epochs", "measure-vae-0", "sampled_squared_error_curve",
     "The paper reads off it that the loss is lower on test than on training images: see which of "
     "the first two curves lies lower."),
    (6, "the VAE-GAN's images after training", "measure-vaegan-0", "reconstructions",
     "The images of figure 4 again: the paper finds them sharper, with fewer artefacts."),
    (7, "the VAE-GAN's loss against epochs", "measure-vaegan-0", "sampled_squared_error_curve",
     "Compare where it ends with figure 5: lower in the paper's Table 1, higher in its section "
     "4.4.3."),
    (8, "the loss of the VAE for detection", "measure-vae-0", "loss_vae_curve",
     "Reconstruction and KL, weighted and summed, which negative_elbo takes as a score."),
    (9, "what the detector calls out", "detect-vae-0", "map_called_",
     "Points of another colour than in figure 10 are its errors."),
    (10, "what is out", "detect-vae-0", "map_true_",
     "Orange among blue: the latents take these for images that belong, and only their "
     "reconstruction can tell."),
)  # fmt: skip
"""Number, what it shows, stage, how the picture's name begins, and what to see in it."""
GALLERY = (
    ("measure-vae-0", "samples"), ("measure-vaegan-0", "samples"), ("measure-gan-0", "samples"),
    ("measure-vaegan-recommended-0", "samples"), ("measure-stylegan-0", "samples"),
    ("measure-vae-0", "interpolation"), ("measure-vae-0", "latent_grid"),
    ("measure-vae-recommended-0", "reconstructions"),
    ("detect-vae-0", "scores_squared_error"), ("detect-vae-0", "operating_curves_"),
    ("detect-vae-recommended-0", "operating_curves_"),
    ("detect-vae-recommended-0", "explanations_"),
    ("detect-vae-recommended-reverse-0", "operating_curves_"),
)  # fmt: skip


def write_report(results: dict[str, Any], pictures: Pictures, folder: Path) -> Path:
    """Write `report.html`, one file that needs nothing else; returns its path.

    Args:
        results: what `results.json` has.
        pictures: stage → name → picture.
        folder: where to write.
    """
    settings, measures = results["settings"], results["measures"]
    systems = results["systems"]
    gallery = [(stage, _find(pictures, stage, start)) for stage, start in GALLERY]
    own = [
        measure for name, measure in measures.items() if systems[name]["data"] == settings["data"]
    ]
    first = own[0] if own else {}
    html = render(
        "reproduction.html.j2",
        **results,
        comparable=settings["data"] == "mnist" and not settings["limit"]
        and settings["against"] == "fashion-mnist" and settings["epochs"] >= 50,
        table_1=_table_1(measures, systems),
        table_2=_table_2(results["detection"], systems, settings["data"]),
        paper_table_2=TABLE_2,
        paper_figures=[
            {"number": number, "what": what, "see": see, "shown": _find(pictures, stage, start)}
            for number, what, stage, start, see in PAPER_FIGURES
        ],
        columns=COLUMNS,
        floors={key: first[f"{key}_floor"]["mean"] for key in COLUMNS if f"{key}_floor" in first},
        extractor=_extractor(first),
        tiles=_tiles(results),
        gallery=[
            replace(kept, title=f"{_title(stage, systems)}: {kept.title}")
            for stage, kept in gallery if kept
        ],
        arguments=_arguments(settings),
        minutes=_minutes(results["seconds"]),
    )  # fmt: skip
    path = folder / "report.html"
    replace_durably(path, html.encode())
    return path


def _table_1(measures: Mapping[str, Any], systems: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = (("vae", "VAE", "VAE"), ("vaegan", "VAE-GAN", "VAEGAN"))
    return [
        {"name": name, "title": title, "paper": TABLE_1[model], "trained": name in systems}
        | {"squared_error": measures.get(name, {}).get("squared_error")}
        | {"cosine_similarity": _percent(measures.get(name, {}).get("cosine_similarity"))}
        for name, title, model in rows
    ]


def _percent(cell: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {key: None if cell[key] is None else 100 * cell[key] for key in ("mean", "low", "high")}


def _tiles(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """What stands large at the top of the page."""
    verdicts = [claim["verdict"] for claim in results["claims"]]
    judged = len(verdicts) - verdicts.count("not testable")
    held = verdicts.count("confirmed") + verdicts.count("holds")
    tiles = [{"name": f"of {judged} claims of the paper hold", "value": str(held)}]
    for name, about in results["systems"].items():
        if name in ("vae", "vaegan") and name in results["measures"]:
            error = results["measures"][name]["squared_error"]["mean"]
            tiles.append({"name": f"squared error, {about['title']}", "value": f"{error:.1f}"})
    for name, own in results["detection"].items():
        if "fused" in own["scores"] and "recommended" in name:
            auroc, about = own["scores"]["fused"]["auroc"]["mean"], results["systems"][name]
            tiles.append({"name": f"AUROC, fused score, {about['title']}, {about['data']} in",
                          "value": f"{auroc:.4f}"})  # fmt: skip
    return tiles


def _table_2(
    detection: Mapping[str, Any], systems: Mapping[str, Any], inside: str
) -> list[dict[str, Any]]:
    """The paper's score, its other reading and ours, of every system that learnt the in-set."""
    return [
        {
            "name": name,
            "title": systems[name]["title"],
            "score": score,
            "cells": own["scores"][score],
        }
        for name, own in detection.items()
        if systems[name]["data"] == inside
        for score in TABLE_2_SCORES
        if score in own["scores"]
    ]


def _extractor(measured: Mapping[str, Any]) -> dict[str, Any] | None:
    if "feature_extractor" not in measured:
        return None
    accuracy = measured["feature_extractor_accuracy"]["mean"]
    return {"name": measured["feature_extractor"], "accuracy": accuracy}


def _minutes(seconds: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """`train`, `measure` or `detect` → system → how long it took, with all its seeds."""
    minutes: dict[str, dict[str, float]] = {kind: {} for kind in ("train", "measure", "detect")}
    for stage, took in seconds.items():
        of_kind, name = minutes[stage.split("-", 1)[0]], _system(stage)
        of_kind[name] = of_kind.get(name, 0.0) + took / 60
    return minutes


def _find(pictures: Pictures, stage: str, start: str) -> Kept | None:
    """The first picture of a stage whose own name begins so."""
    drawn = pictures.get(stage, ())
    return next((kept for kept in drawn if kept.name.startswith(f"{stage}-{start}")), None)


def _system(stage: str) -> str:
    """The name in the middle of a stage's, such as `measure-vae-0`."""
    return stage.split("-", 1)[1].rsplit("-", 1)[0]


def _title(stage: str, systems: Mapping[str, Any]) -> str:
    name = _system(stage)
    return systems[name]["title"] if name in systems else name


def _arguments(settings: Mapping[str, Any]) -> str:
    """The options of the command that made this, without the data's folder."""
    data, against = (shlex.quote(str(source)) for source in settings["sources"])
    parts = [f"--data {data}", f"--against {against}"]
    parts += [f"--epochs {settings['epochs']}", f"--seeds {settings['seeds']}"]
    if settings["limit"]:
        parts.append(f"--limit {settings['limit']}")
    if settings["systems"] != list(SYSTEMS):
        parts.append(f"--systems '[{', '.join(settings['systems'])}]'")
    return " " + " ".join(parts)
