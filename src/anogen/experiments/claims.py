"""What the paper says in sections 4.4 and 4.5, each with what our numbers say to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["confirmed", "refuted", "undecided", "holds", "does not hold", "not testable"]
ENOUGH_SEEDS = 3
"""With fewer a claim is neither confirmed nor refuted."""


@dataclass(frozen=True)
class Claim:
    """One claim with its verdict.

    Attributes:
        section: of the paper.
        text: what it says, in our words.
        verdict: over three seeds or more: `confirmed` if it holds with each, `refuted` if with
            none; with fewer seeds `holds` or `does not hold`.
        seeds: on how many the verdict rests.
        numbers: what the verdict rests on.
        system: whose commands make the numbers again.
    """

    section: str
    text: str
    verdict: Verdict
    numbers: str
    system: str
    seeds: int = 0

    @property
    def shown(self) -> str:
        """The verdict, with the number of seeds where they are too few."""
        few = self.verdict in ("holds", "does not hold")
        return (
            f"{self.verdict} ({self.seeds} seed{'s' * (self.seeds > 1)})" if few else self.verdict
        )

    def as_json(self) -> dict[str, Any]:
        """For `results.json`."""
        return asdict(self)


Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class _Test:
    """A claim before it is judged.

    Attributes:
        holds: values of one seed, in the order of `needs` → whether it holds with that seed.
        needs: what it rests on, each a path into the results.
        says: with the means over the seeds that have them all filled in.
    """

    section: str
    text: str
    needs: tuple[str, ...]
    holds: Callable[[Sequence[float]], bool]
    says: str


_TESTS = (
    _Test(
        "4.4.1", "The VAE's reconstruction loss is lower on test than on training data.",
        ("measures.vae.last_validation_sampled_squared_error",
         "measures.vae.last_train_sampled_squared_error",
         "measures.vae.first_validation_sampled_squared_error",
         "measures.vae.first_running_sampled_squared_error"),
        lambda v: v[0] < v[1],
        "Held out {:.2f}, training {:.2f}, both in evaluation mode after the last epoch. After the "
        "first epoch: held out {:.2f}; the mean over the epoch, which a training loop prints and "
        "which is no fair comparison, {:.2f}.",
    ),
    _Test(
        "4.4.2, 4.5.2, Table 1", "The VAE-GAN has a lower reconstruction loss than the VAE.",
        ("measures.vaegan.squared_error", "measures.vae.squared_error"),
        lambda v: v[0] < v[1],
        "Squared error {:.2f} against {:.2f}.",
    ),
    _Test(
        "4.4.3", "The VAE-GAN's reconstruction error is slightly higher than the VAE's.",
        ("measures.vaegan.squared_error", "measures.vae.squared_error"),
        lambda v: v[1] < v[0] < 1.5 * v[1],
        "Squared error {:.2f} against {:.2f}; slightly: less than half as much again. The paper "
        "contradicts itself here.",
    ),
    _Test(
        "4.4.3", "The VAE's images are somewhat blurred.",
        ("measures.vae.sharpness_reconstruction", "measures.vae.sharpness_samples",
         "measures.vae.sharpness_data"),
        lambda v: max(v[0], v[1]) < v[2],
        "Variance of the Laplacian: reconstructions {:.3f}, samples {:.3f}, the data {:.3f}.",
    ),
    _Test(
        "4.4.3, 4.5.2", "The VAE-GAN's images are sharper than the VAE's.",
        ("measures.vaegan.sharpness_reconstruction", "measures.vae.sharpness_reconstruction",
         "measures.vaegan.sharpness_samples", "measures.vae.sharpness_samples",
         "measures.vae.sharpness_data"),
        lambda v: v[1] < v[0] < 2 * v[4] and v[3] < v[2] < 2 * v[4],
        "Variance of the Laplacian: reconstructions {:.3f} against {:.3f}, samples {:.3f} against "
        "{:.3f}; the data have {:.3f}, and what has more than twice that is noise.",
    ),
    _Test(
        "4.4.3", "The VAE-GAN's images have fewer artefacts.",
        ("measures.vaegan.precision", "measures.vae.precision",
         "measures.vaegan.frechet_distance", "measures.vae.frechet_distance"),
        lambda v: v[0] > v[1] and v[2] < v[3],
        "If they must be better by both: precision, the share of samples that lie among real "
        "images, is {:.3f} against {:.3f}, the Fréchet distance {:.3g} against {:.3g}.",
    ),
    _Test(
        "4.5.1", "The VAE learns an effective compressed representation.",
        ("measures.vae.squared_error", "measures.vae.mean_image_squared_error",
         "measures.vae.cosine_similarity", "measures.vae.latent"),
        lambda v: v[0] < 0.75 * v[1],
        "Squared error {:.1f}; the mean image alone has {:.1f}; cosine similarity {:.3f}, with "
        "{:.0f} numbers per image. We call it effective where a quarter of the error goes.",
    ),
    _Test(
        "4.5.1", "The latent space allows interpolation between classes.",
        ("measures.vae.midpoint_precision", "measures.vae.pixel_average_precision"),
        lambda v: v[0] > v[1],
        "Midpoints between the latents of two images of different classes, decoded, lie among real "
        "images in {:.1%} of cases; averages of their pixels in {:.1%}.",
    ),
    _Test(
        "4.5.1", "Convolutional layers improve the VAE.",
        ("measures.vae-short.squared_error", "measures.vae-dense.squared_error"),
        lambda v: v[0] < v[1],
        "Squared error {:.2f} against {:.2f} with dense layers, trained as long.",
    ),
    _Test(
        "4.5.1", "Dropout improves the VAE.",
        ("measures.vae-dropout.squared_error", "measures.vae-short.squared_error"),
        lambda v: v[0] < v[1],
        "Squared error on test images {:.2f} against {:.2f} without, trained as long.",
    ),
    _Test(
        "4.5.3", "Out-of-distribution images are found with a precision of 98 %.",
        ("detection.vae.scores.squared_error.precision_1",),
        lambda v: v[0] >= 0.98,
        "Precision {:.3f} at a false-positive rate of 1 % set on in-distribution images. With as "
        "many images out as in, this follows from any recall above one half.",
    ),
    _Test(
        "4.5.3", "The vast majority of out-of-distribution images is found.",
        ("detection.vae.scores.squared_error.recall_1",),
        lambda v: v[0] >= 0.9,
        "Recall {:.3f}; the paper has 0.90, which we take for a vast majority.",
    ),
    _Test(
        "4.5.3", "Those that are missed are similar to normal images.",
        ("detection.vae.missed.nearest_of_missed", "detection.vae.missed.nearest_of_found"),
        lambda v: v[0] < v[1],
        "Squared distance in pixels to the nearest of up to 10,000 training images: missed {:.1f}, "
        "found {:.1f}.",
    ),
)  # fmt: skip


def judge_claims(results: Numbers) -> list[Claim]:
    """Every claim, judged by the results of `reproduce`, in the paper's order."""
    return [_judge(test, results) for test in _TESTS]


def _judge(test: _Test, results: Numbers) -> Claim:
    system = test.needs[0].split(".")[1]
    entries = [_at(results, path) for path in test.needs]
    measured = [each for each in entries if each is not None]
    if len(measured) < len(entries):
        absent = {path.split(".")[1] for path in test.needs if _at(results, path) is None}
        numbers = f"What it needs of {', '.join(sorted(absent))} was not measured here."
        return Claim(test.section, test.text, "not testable", numbers, system)
    by_seed = [dict(zip(each["seeds"], each["values"], strict=True)) for each in measured]
    common = sorted(set(by_seed[0]).intersection(*by_seed))
    held = [test.holds([values[seed] for values in by_seed]) for seed in common]
    if not held:
        numbers = "No seed has all that it needs."
        return Claim(test.section, test.text, "not testable", numbers, system)
    enough = len(held) >= ENOUGH_SEEDS
    yes, no = ("confirmed", "refuted") if enough else ("holds", "does not hold")
    verdict: Verdict = yes if all(held) else "undecided" if any(held) else no
    means = [sum(values[seed] for seed in common) / len(common) for values in by_seed]
    numbers = test.says.format(*means)
    if verdict == "undecided":
        numbers += f" It holds with {sum(held)} of {len(held)} seeds."
    return Claim(test.section, test.text, verdict, numbers, system, len(held))


def _at(results: Numbers, path: str) -> Numbers | None:
    """The entry at a path of keys; None where there is none."""
    entry: Any = results
    for key in path.split("."):
        if not isinstance(entry, Mapping) or key not in entry:
            return None
        entry = entry[key]
    return entry
