r"""How well damaged images are restored, beside the methods of scikit-image.

    python benchmarks/restoration.py runs --photographs path/to/denoising \
        --out docs/results/restoration.json

`runs` holds runs of these names, trained so:

    anogen train --model VAE --preset recommended --model.latent 64 --epochs 10 --data mnist \
        --corruption gaussian_noise=0..0.5 --run runs/vae-mnist
    anogen train --model Restorer --epochs 12 --schedule cosine --ema_decay 0.999 \
        --batch_size 128 --learning_rate 0.002 --warmup_steps 200 --data mnist \
        --corruption gaussian_noise=0..0.5 --run runs/restorer-mnist
    anogen train --model Restorer --preset recommended --data Train400 --run runs/restorer

and the first two for fashion-mnist as well (the Restorer there with 6 epochs, batches of 64 and a
learning rate of 0.001). `--photographs` holds the folders Set12, BSD68 and
Train400.

Questions, each kept as it is answered; what is there already is left:

- `small`: PSNR on test images of MNIST and Fashion-MNIST with Gaussian noise, rounded and clipped
  as in files, of wavelets, total variation and non-local means with the strengths that are best
  on validation images, of the VAE and of the Restorer; with the shares of pixels in 90 % intervals.
- `classical`: PSNR and SSIM on Set12 and BSD68 with Gaussian noise that is neither rounded nor
  clipped, as published figures have it; of the same methods.
- `photographs`: the same, of a blind Restorer.
- `holes`: PSNR within holes of MNIST's test images, filled by the latents of the VAE that are most
  likely, by biharmonic equations, and by the mean of the training images.
- `learning`: runs `learning-*` with the same net and steps, trained with clean pictures or without:

    anogen train --model Restorer --preset demo --corruption gaussian_noise=0.098 --data Train400 \
        --run runs/learning-clean          # and with --model.learning noise_to_noise
    anogen train --model Restorer --preset demo --data Train400+gaussian_noise=0.098 \
        --model.learning recorrupted --model.noise 0.098 --run runs/learning-recorrupted
    anogen train --model Restorer --preset demo --data Train400+gaussian_noise=0.098 \
        --model.learning noise_to_self --run runs/learning-noise-to-self

- `picture`: `--picture FILE`, some test images of Fashion-MNIST with σ 0.5, restored by each, and
  digits with a hole.
- `speed`: seconds for a picture of 512×512.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import restoration as classical

import anogen
from anogen import Images, Run
from anogen.data.pictures import Pictures
from anogen.data.walk import walk
from anogen.durable import replace_durably
from anogen.evaluation.reconstruction import psnr_db, ssim
from anogen.report.figures import mosaic, save
from anogen.restoration.intervals import Intervals

Values = NDArray[np.float32]
Method = Callable[[Any, float, float], Any]
Way = tuple[Callable[[Values], Any], float | None]
"""What restores, and its strength where it has one."""
SMALL = ("mnist", "fashion-mnist")
SIGMAS = (0.2, 0.5)
SHOWN = 12
TESTED, CHOSEN_ON = 1000, 100
LEVELS = (15, 25, 50)
"""Standard deviations of noise, full range 255."""
SHARE = 0.9
peers: Any = classical
METHODS: dict[str, Method] = {
    "wavelet": lambda y, sigma, times: peers.denoise_wavelet(
        y, sigma=times * sigma, method="BayesShrink", mode="soft", rescale_sigma=True
    ),
    "total variation": lambda y, sigma, times: peers.denoise_tv_chambolle(y, times * sigma),
    "non-local means": lambda y, sigma, times: peers.denoise_nl_means(
        y, h=times * sigma, sigma=sigma, fast_mode=True, patch_size=5, patch_distance=6
    ),
}
"""Image `[h, w]`, standard deviation of its noise, strength in units of that → restored."""
STRENGTHS = (0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.3, 1.7, 2.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/restoration.json"))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(2)
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    questions: dict[str, Callable[[], Any]] = {
        "small": lambda: list(small(options.runs)),
        "classical": lambda: list(classical_photographs(options.photographs)),
        "photographs": lambda: list(photographs(options.runs, options.photographs)),
        "holes": lambda: holes(options.runs),
        "learning": lambda: list(learning(options.runs, options.photographs)),
        "speed": lambda: speed(options.runs),
    }
    if options.picture is not None:
        picture(options.runs, options.picture)
    for name, question in questions.items():
        if name in found or not name.startswith(options.only):
            continue
        found[name] = question()
        replace_durably(options.out, (json.dumps(found, indent=1) + "\n").encode())
        print(name, json.dumps(found[name])[:3000], flush=True)


def small(runs: Path) -> Iterator[dict[str, Any]]:
    for data_name in SMALL:
        data = anogen.load_data(data_name)
        test, chosen_on = data.test.evenly(TESTED), data.validation.evenly(CHOSEN_ON)
        for sigma in SIGMAS:
            damage = f"gaussian_noise={sigma}"
            given, clean = values(anogen.corrupt(test, damage, seed=1)), values(test)
            about = {"data": data_name, "sigma": sigma, "images": len(test)}
            yield {**about, "method": "as given", **judged(clean, given)}
            tuning = values(anogen.corrupt(chosen_on, damage, seed=2))
            for name, method in METHODS.items():
                strength = best(method, tuning, values(chosen_on), sigma)
                start = time.perf_counter()
                restored = each(method, given, sigma, strength)
                seconds = (time.perf_counter() - start) / len(test)
                yield {**about, "method": name, "strength": strength, "seconds": seconds,
                       **judged(clean, restored)}  # fmt: skip
            for kind in ("vae", "restorer"):
                run = Run.open(runs / f"{kind}-{data_name}")
                model = run.load_model()
                intervals = Intervals.of_run(run, model, SHARE)
                start = time.perf_counter()
                restored = anogen.restore(model, given[:, 0]).images[:, None]
                seconds = (time.perf_counter() - start) / len(test)
                ends = anogen.restore(model, given[:, 0], intervals=intervals)
                assert ends.low is not None
                assert ends.high is not None
                inside = (ends.low <= clean[:, 0]) & (clean[:, 0] <= ends.high)
                inked = clean[:, 0] > 0
                yield {**about, "method": kind, "epochs": run.config["epochs"], "seconds": seconds,
                       **judged(clean, restored), "coverage": float(inside.mean()),
                       "coverage_inked": float(inside[inked].mean())}  # fmt: skip


def photographs(runs: Path, folder: Path) -> Iterator[dict[str, Any]]:
    model = Run.open(runs / "restorer").load_model()

    def ways(_: float) -> dict[str, Way]:
        return {"Restorer": (lambda y: anogen.restore(model, y).images, None)}

    return each_photograph(folder, ways)


def classical_photographs(folder: Path) -> Iterator[dict[str, Any]]:
    def ways(sigma: float) -> dict[str, Way]:
        found: dict[str, Way] = {"as given": (lambda y: y, None)}
        for name, method in METHODS.items():
            strength = best_of_pictures(method, folder, sigma)
            found[name] = (lambda y, m=method, s=strength: m(y, sigma, s), strength)
        return found

    return each_photograph(folder, ways)


def each_photograph(
    folder: Path, ways: Callable[[float], dict[str, Way]]
) -> Iterator[dict[str, Any]]:
    for level in LEVELS:
        sigma = level / 255
        by_name = ways(sigma)
        for data_name in ("Set12", "BSD68"):
            pictures = grey(folder / data_name)
            noisy = [with_noise(x, sigma, index) for index, x in enumerate(pictures)]
            for name, (way, strength) in by_name.items():
                start = time.perf_counter()
                restored = [np.asarray(way(y), np.float32) for y in noisy]
                seconds = (time.perf_counter() - start) / len(noisy)
                rows = [judged(x[None, None], z[None, None])
                        for x, z in zip(pictures, restored, strict=True)]  # fmt: skip
                yield {
                    "data": data_name, "sigma": level, "method": name, "pictures": len(rows),
                    "seconds": seconds, "strength": strength,
                    "psnr_db": float(np.mean([row["psnr_db"] for row in rows])),
                    "ssim": float(np.mean([row["ssim"] for row in rows])),
                    "psnr_each_db": [round(row["psnr_db"], 3) for row in rows],
                }  # fmt: skip


def holes(runs: Path) -> dict[str, Any]:
    data = anogen.load_data("mnist")
    test = data.test.evenly(100)
    clean = values(test)
    missing = np.zeros((28, 28), np.bool_)
    missing[8:20, 8:20] = True
    given = clean.copy()
    given[:, :, missing] = 0.5
    mean = values(data.train.evenly(5000)).mean(0)
    model = Run.open(runs / "vae-mnist").load_model()
    found = {
        "mean of the training images": np.where(missing, mean, given),
        "biharmonic equations": np.stack([
            peers.inpaint_biharmonic(image[0], missing)[None] for image in given
        ]).astype(np.float32),
        "latents of the VAE": anogen.restore(model, given[:, 0], mask=missing).images[:, None],
    }  # fmt: skip
    return {
        "images": len(test), "hole": "the middle 12×12 of 28×28",
        "rows": [{"method": name, **judged(clean[:, :, 8:20, 8:20], x[:, :, 8:20, 8:20])}
                 for name, x in found.items()],
    }  # fmt: skip


def picture(runs: Path, path: Path) -> None:
    """Rows: as given, the best of the simple methods, the VAE, the Restorer, the originals."""
    test = anogen.load_data("fashion-mnist").test[:SHOWN]
    noisy = anogen.corrupt(test, "gaussian_noise=0.5", seed=1)
    plain = each(METHODS["total variation"], values(noisy), 0.5, 0.35)
    given = np.asarray(noisy.pixels[:])
    rows: dict[str, NDArray[Any]] = {
        "given": given[:, 0],
        "total variation": np.clip(np.rint(255 * plain[:, 0]), 0, 255),
    }
    for title, name in (("VAE", "vae"), ("Restorer", "restorer")):
        rows[title] = anogen.restore(runs / f"{name}-fashion-mnist", given[:, 0]).images
    rows["original"] = np.asarray(test.pixels[:])[:, 0]
    digits = np.asarray(anogen.load_data("mnist").test[:SHOWN].pixels[:])[:, 0]
    hole = np.zeros((28, 28), np.bool_)
    hole[8:20, 8:20] = True
    holed = np.where(hole, 128, digits).astype(np.uint8)
    rows["a hole"] = holed
    rows["filled"] = anogen.restore(runs / "vae-mnist", holed, mask=hole).images
    rows["original "] = digits
    sheet = np.stack([row.astype(np.uint8)[:, None] for row in rows.values()])
    save(mosaic(sheet, labels=list(rows)), path)


def learning(runs: Path, folder: Path) -> Iterator[dict[str, Any]]:
    pictures = grey(folder / "Set12")
    noisy = [with_noise(x, 25 / 255, index) for index, x in enumerate(pictures)]
    for path in sorted(runs.glob("learning-*/config.yaml")):
        run = Run.open(path.parent)
        if len(run.metrics) < run.config["epochs"]:  # it is not finished
            continue
        model = run.load_model()
        rows = [judged(x[None, None], anogen.restore(model, y).images[None, None])
                for x, y in zip(pictures, noisy, strict=True)]  # fmt: skip
        options = run.config["model"]["init_args"]
        yield {"run": run.name, "learning": options["learning"], "epochs": run.config["epochs"],
               "psnr_db": float(np.mean([row["psnr_db"] for row in rows]))}  # fmt: skip


def speed(runs: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    y = rng.random((512, 512), np.float32)
    model = Run.open(runs / "restorer").load_model()
    ways: dict[str, Callable[[], Any]] = {"Restorer": lambda: anogen.restore(model, y)}
    for name, method in METHODS.items():
        ways[name] = lambda m=method: m(y, 0.1, 0.7)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(6):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(round(time.perf_counter() - start, 4))
    return {
        "pixels": [512, 512], "threads": torch.get_num_threads(),
        "median_s": {name: float(np.median(each[1:])) for name, each in seconds.items()},
    }  # fmt: skip


def values(images: Images) -> Values:
    """Floats `[n, c, h, w]` in [0, 1]."""
    return images.pixels[:].astype(np.float32) / np.float32(255)


def grey(folder: Path) -> list[Values]:
    """The pictures of a folder, `[h, w]` in [0, 1]."""
    pictures = Pictures(channels=1)
    read = (pictures.read(path)[:, :, 0] for path in walk(folder).files)
    return [pixels.astype(np.float32) / np.float32(255) for pixels in read]


def with_noise(x: Values, sigma: float, seed: int) -> Values:
    rng = np.random.default_rng(seed)
    noise: Values = rng.standard_normal(x.shape, np.float32)
    return (x + sigma * noise).astype(np.float32)


def each(method: Method, images: Values, sigma: float, strength: float) -> Values:
    return np.stack([method(y[0], sigma, strength)[None] for y in images]).astype(np.float32)


def best(method: Method, noisy: Values, clean: Values, sigma: float) -> float:
    """The strength with the highest PSNR."""

    def found(strength: float) -> float:
        return judged(clean, each(method, noisy, sigma, strength))["psnr_db"]

    return max(STRENGTHS, key=found)


def best_of_pictures(method: Method, folder: Path, sigma: float) -> float:
    """The same, on every fortieth picture of the training set."""
    clean = np.stack(grey(folder / "Train400")[::40])[:, None]
    noisy = np.stack([with_noise(x[0], sigma, 1000 + i)[None] for i, x in enumerate(clean)])
    return best(method, noisy, clean, sigma)


def judged(clean: Values, restored: Values) -> dict[str, Any]:
    """Means over images, with a 95 % interval for the PSNR where there are several."""
    x, y = torch.from_numpy(clean), torch.from_numpy(np.clip(restored, 0, 1))
    each_psnr, each_ssim = psnr_db(x, y).double(), ssim(x, y).double()
    half = 1.96 * float(each_psnr.std()) / len(x) ** 0.5 if len(x) > 1 else 0.0
    return {"psnr_db": float(each_psnr.mean()), "psnr_half_db": half,
            "ssim": float(each_ssim.mean())}  # fmt: skip


if __name__ == "__main__":
    main()
