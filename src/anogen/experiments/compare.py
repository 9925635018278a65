"""Several runs measured alike, one row per kind of run, with intervals over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student_t

from anogen.data.splits import Splits
from anogen.device import choose_device
from anogen.errors import UsageError
from anogen.evaluation.evaluate import evaluate
from anogen.evaluation.generation import evaluate_generation
from anogen.evaluation.measures import MEASURES, compared
from anogen.models.base import Encodes, generative
from anogen.models.sampling import SamplerName, make_sampler
from anogen.progress import say
from anogen.run import Run

NO_DIFFERENCE = {"seed", "data_dir", "device", "checkpoint_every_s", "tensorboard", "patience"}
"""Settings that do not make another kind of run."""


class Estimate(NamedTuple):
    """A mean with its 95 % interval; None where there is none."""

    mean: float
    low: float | None = None
    high: float | None = None


def estimate(values: Sequence[float], share: bool = False) -> Estimate:
    """Mean over seeds, with a 95 % interval (Student's t) where there are two values or more.

    That of a share ends at 0 and at 1.

    >>> estimate([1.0])
    Estimate(mean=1.0, low=None, high=None)
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean)
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(student_t.ppf(0.975, len(values) - 1)) * spread
    low, high = mean - half, mean + half
    return Estimate(mean, max(0.0, low), min(1.0, high)) if share else Estimate(mean, low, high)


@dataclass(frozen=True)
class Kind:
    """Runs that differ in nothing but their seed.

    Attributes:
        name: what tells it from the other kinds.
        runs: of this kind.
        values: measure → one value per run.
    """

    name: str
    runs: tuple[Run, ...]
    values: dict[str, list[float]]

    def summary(self, measure: str) -> Estimate:
        """Mean over seeds, with a 95 % interval (Student's t) where there are two runs or more.

        >>> Kind("x", (), {"loss": [1.0, 3.0]}).summary("loss").mean
        2.0
        """
        return estimate(self.values[measure])


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        kinds: in the order of the runs given.
        floors: measure → what real training images have in the place of samples.
        extractor: name and accuracy of the classifier whose features the distances are in.
        data: the test images.
        settings: samples, sampler and seed, the same for all.
        results: path of a run → all that was measured of it.
        allow_code: as given to `compare`.
    """

    kinds: tuple[Kind, ...]
    floors: dict[str, float]
    extractor: dict[str, Any]
    data: Splits
    settings: dict[str, Any]
    results: dict[str, dict[str, Any]]
    allow_code: bool = False

    @property
    def measures(self) -> list[str]:
        """What at least one kind has, in the table's order."""
        return [name for name in compared() if any(name in kind.values for kind in self.kinds)]

    def best(self, measure: str) -> Kind | None:
        """The kind with the best mean, where there are two to choose from and one is better."""
        better = MEASURES[measure].better
        having = [kind for kind in self.kinds if measure in kind.values]
        if better is None or len(having) < 2:
            return None
        means = [kind.summary(measure).mean for kind in having]
        top = max(means) if better == "higher" else min(means)
        return having[means.index(top)] if means.count(top) == 1 else None

    def as_json(self) -> dict[str, Any]:
        """Everything, for `comparison.json`."""
        return {
            "data": self.data.name,
            **self.settings,
            **self.extractor,
            "kinds": [
                {
                    "name": kind.name,
                    "runs": [str(run.path) for run in kind.runs],
                    **{measure: kind.summary(measure)._asdict() for measure in kind.values},
                }
                for kind in self.kinds
            ],
            "real_images": self.floors,
            "runs": self.results,
        }


def compare(
    runs: Sequence[Run],
    *,
    samples: int = 10_000,
    sampler: SamplerName = "auto",
    seed: int = 0,
    device: str = "auto",
    data_dir: str | None = None,
    allow_code: bool = False,
) -> Comparison:
    """Measure runs on the same test images, with the same number of samples.

    Args:
        runs: trained on the same data; those with equal configurations but for the seed become
            one row with an interval.
        samples: new images drawn from each.
        sampler: where latents come from, as `anogen sample` takes it; models that do not encode
            have their prior.
        seed: of the draws.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: where data sets lie.
        allow_code: import models that are not anogen's own, which runs the code of their modules;
            only for runs that you trust.

    Returns:
        The comparison; `anogen.experiments.compare_page` writes its page.

    Raises:
        UsageError: no run, one named twice, or runs of different data.
    """
    paths = [run.path.resolve() for run in runs]
    if not runs:
        raise UsageError("compare needs at least one run")
    if len(set(paths)) < len(paths):
        raise UsageError("a run is named twice; its copy would count as another seed")
    _refuse_other_data(runs)
    _refuse_equal_seeds(runs)
    data = runs[0].load_data(data_dir)
    results: dict[str, dict[str, Any]] = {}
    for run in runs:
        say(f"measuring {run.path}")
        model = generative(run.load_model(allow_code=allow_code), f"compare {run.path}")
        model = model.to(choose_device(device))
        named = sampler if isinstance(model, Encodes) else "prior"
        sample = make_sampler(named, model, data.train)
        result = evaluate(model, data.test, importance_samples=0, seed=seed, device=device)
        result |= evaluate_generation(
            model, data, samples=samples, sampler=sample, seed=seed, device=device
        )
        if run.metrics:
            result |= {k: v for k, v in run.metrics[-1].items() if k == "images_per_s"}
            result["epochs"] = run.metrics[-1]["epoch"]
        results[str(run.path)] = result
    first = results[str(runs[0].path)]
    ending = "_floor"
    floors = {k.removesuffix(ending): v for k, v in first.items() if k.endswith(ending)}
    floors["sharpness_samples"] = first["sharpness_data"]
    extractor = {k: v for k, v in first.items() if k.startswith("feature_extractor")}
    settings = {"samples": samples, "sampler": sampler, "seed": seed}
    kinds = _kinds(runs, results)
    return Comparison(kinds, floors, extractor, data, settings, results, allow_code)


def _refuse_other_data(runs: Sequence[Run]) -> None:
    first = runs[0].environment["data"]
    for run in runs[1:]:
        own = run.environment["data"]
        if own["test_sha256"] != first["test_sha256"]:
            raise UsageError(
                f"{run.path} was trained on {own['name']}, {runs[0].path} on {first['name']}, with "
                "other test images; only runs of the same data and split compare"
            )


def _refuse_equal_seeds(runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        first = seen.setdefault(_settings(run, NO_DIFFERENCE - {"seed"}), run)
        if first is not run:
            raise UsageError(
                f"{run.path} and {first.path} have the same settings and the same seed, so they "
                "would count as two draws and are one; name one of them"
            )


def _settings(run: Run, without: set[str]) -> str:
    return repr(sorted((k, repr(v)) for k, v in run.config.items() if k not in without))


def _kinds(runs: Sequence[Run], results: dict[str, dict[str, Any]]) -> tuple[Kind, ...]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        done = results[str(run.path)].get("epochs")  # not those that were asked for
        groups.setdefault(_settings(run, NO_DIFFERENCE) + str(done), []).append(run)
    names = _names([group[0] for group in groups.values()])
    return tuple(
        Kind(name, tuple(group), _values([results[str(run.path)] for run in group]))
        for name, group in zip(names, groups.values(), strict=True)
    )


def _values(results: list[dict[str, Any]]) -> dict[str, list[float]]:
    shared = [name for name in compared() if all(name in result for result in results)]
    return {name: [float(result[name]) for result in results] for name in shared}


def _names(runs: Sequence[Run]) -> list[str]:
    """The model's name, with the run's folder where two kinds share one."""
    models = [run.config["model"]["class_path"].rpartition(".")[2] for run in runs]
    folders = [run.name for run in runs]
    paths = [run.name if folders.count(run.name) == 1 else str(run.path) for run in runs]
    return [
        model if models.count(model) == 1 else f"{model} ({path})"
        for model, path in zip(models, paths, strict=True)
    ]
