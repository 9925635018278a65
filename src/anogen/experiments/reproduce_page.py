"""The page of `anogen reproduce`, from its results and the pictures of its stages."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anogen.checkpoint import replace_durably
from anogen.experiments.claims import PAPER_TABLE_2
from anogen.experiments.stages import Shown
from anogen.report.page import PAPER_TABLE_1, render

Pictures = Mapping[str, Mapping[str, Shown]]

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
    ("4", "the VAE's images after the last epoch", "measure-vae-0", "reconstructions"),
    ("5", "the VAE's loss against epochs", "measure-vae-0", "sampled_squared_error_curve"),
    ("6", "the VAE-GAN's images after the last epoch", "measure-vaegan-0", "reconstructions"),
    ("7", "the VAE-GAN's loss against epochs", "measure-vaegan-0", "sampled_squared_error_curve"),
    ("8", "the loss of the VAE for detection", "measure-vae-0", "loss_vae_curve"),
    ("9", "what the detector calls out", "detect-vae-0", "map_called_"),
    ("10", "what is out", "detect-vae-0", "map_true_"),
)
"""Number, what it shows, stage, and how the picture's name begins."""
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


@dataclass(frozen=True)
class Embedded:
    """A picture within the page."""

    title: str
    caption: str
    uri: str


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
    first = next(iter(measures.values()), {})
    html = render(
        "reproduction.html.j2",
        **results,
        comparable=settings["data"] == "mnist" and not settings["limit"]
        and settings["epochs"] >= 50,
        table_1=_table_1(measures, systems),
        table_2=_table_2(results["detection"], systems),
        paper_table_2=PAPER_TABLE_2,
        paper_figures=[
            {"number": number, "what": what, "shown": _embed(_find(pictures, stage, start))}
            for number, what, stage, start in PAPER_FIGURES
        ],
        columns=COLUMNS,
        floors={key: first[f"{key}_floor"]["mean"] for key in COLUMNS if f"{key}_floor" in first},
        extractor=_extractor(first),
        calibrated=None,
        gallery=[_embed(shown, _title(stage, systems)) for stage, shown in gallery if shown],
        arguments=_arguments(settings),
    )  # fmt: skip
    path = folder / "report.html"
    replace_durably(path, html.encode())
    return path


def _table_1(measures: Mapping[str, Any], systems: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = (("vae", "VAE", "VAE"), ("vaegan", "VAE-GAN", "VAEGAN"))
    return [
        {"name": name, "title": title, "paper": PAPER_TABLE_1[model], "trained": name in systems}
        | {key: measures.get(name, {}).get(key) for key in ("squared_error", "cosine_similarity")}
        for name, title, model in rows
    ]


def _table_2(detection: Mapping[str, Any], systems: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The paper's score, its other reading and ours, of every system that learnt the in-set."""
    inside = systems[next(iter(detection))]["data"] if detection else None
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


def _find(pictures: Pictures, stage: str, start: str) -> Shown | None:
    """The first picture of a stage whose name begins so."""
    drawn = pictures.get(stage, {})
    return next((shown for name, shown in drawn.items() if name.startswith(start)), None)


def _title(stage: str, systems: Mapping[str, Any]) -> str:
    """The system of a stage such as `measure-vae-0`."""
    name = stage.split("-", 1)[1].rsplit("-", 1)[0]
    return systems[name]["title"] if name in systems else name


def _embed(shown: Shown | None, system: str = "") -> Embedded | None:
    if shown is None:
        return None
    encoded = base64.b64encode(shown.path.read_bytes()).decode()
    title = f"{system}: {shown.title}" if system else shown.title
    return Embedded(title, shown.caption, f"data:image/png;base64,{encoded}")


def _arguments(settings: Mapping[str, Any]) -> str:
    """The options of the command that made this, without the data's folder."""
    parts = [f"--data {settings['data']}", f"--against {settings['against']}"]
    parts += [f"--epochs {settings['epochs']}", f"--seeds {settings['seeds']}"]
    if settings["limit"]:
        parts.append(f"--limit {settings['limit']}")
    return " " + " ".join(parts)
