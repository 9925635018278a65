"""Nets for larger images: how fast they train, and how well, beside the paper's at full width.

    python benchmarks/nets.py path/to/emoji_pairs_32.npz --out docs/results/nets.json
    python benchmarks/nets.py path/to/emoji_pairs_32.npz --rates --out docs/results/nets.json
    python benchmarks/nets.py path/to/emoji_pairs_32.npz --artist twemoji --only default --out ...

The pictures of an artist, enlarged to `--size`, in colour; the nets' defaults were chosen on those
of `noto`. Kinds of emoji (with all their skin tones) are in one split only. A VAE with a learnt σ
is trained for `--epochs` and measured on test pictures. `checkerboard` is the share of the variance
of neighbouring pixels' differences that is in the pattern of a chess board, of reconstructions over
that of the pictures themselves: 1 is as it should be. `--rates` measures
images per second instead, all nets in turn, on an idle machine.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import anogen
from anogen.data.images import Images
from anogen.data.splits import Splits
from anogen.device import choose_device, choose_precision
from anogen.errors import DivergenceError
from anogen.nets import NetOptions
from anogen.training.step import make_players, train_step
from race import keep, per_second, race, show

LEARNING_RATES = (1e-3, 3e-4, 1e-4)
NETS: dict[str, NetOptions] = {
    "default": {},
    "default, with transposed convolutions": {"upsampling": "transposed"},
    "the paper's: 32, 64, 64 filters": {
        "widths": [32, 64, 64],
        "full_size": True,
        "upsampling": "transposed",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emoji", type=Path)
    parser.add_argument("--artist", choices=["noto", "twemoji"], default="noto")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="nets whose name has this in it")
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = {}
    if options.out and options.out.exists():
        report = json.loads(options.out.read_text("utf-8"))
    nets = {name: net for name, net in NETS.items() if options.only in name}
    data = pictures(options.emoji, options.size, options.artist)
    if options.rates:
        rates = race({name: lambda net=net: rate(net, data) for name, net in nets.items()}, 3)
        show(
            f"training a VAE on {options.size}×{options.size} RGB: images/s", rates, list(nets)[-1]
        )
        report[f"rates_{options.size}"] = rates
        keep(report, options.out)
        return
    for seed in range(options.seeds):
        for name, net in nets.items():
            row = {"size": options.size, "epochs": options.epochs, "net": name, "seed": seed}
            row |= measured(net, data, options.epochs, seed)
            print(row, flush=True)
            report.setdefault("trained" if options.artist == "noto" else "confirmed", []).append(
                row
            )
            keep(report, options.out)


def pictures(path: Path, size: int, artist: str = "noto") -> Splits:
    """The pictures, split by kind of emoji."""
    with np.load(path, allow_pickle=False) as stored:
        pixels, names = stored[artist], stored["caption"]
    large = np.stack(
        [np.asarray(Image.fromarray(each.transpose(1, 2, 0)).resize((size, size),
                    Image.Resampling.BICUBIC)) for each in pixels]
    ).transpose(0, 3, 1, 2)  # fmt: skip
    kinds = np.array([str(name).partition(":")[0] for name in names])
    order = np.random.default_rng(0).permutation(np.unique(kinds))
    share = len(order) // 10
    held_out, tested, rest = np.split(order, [share, 2 * share])
    train, validation, test = (
        Images(np.ascontiguousarray(large[np.isin(kinds, some)]), "emoji")
        for some in (rest, held_out, tested)
    )
    return Splits(train, validation, test)


def model_of(net: NetOptions, shape: tuple[int, int, int], seed: int) -> anogen.VAE:
    torch.manual_seed(seed)
    return anogen.VAE(shape, latent=32, likelihood="learned_sigma", **net)


def measured(net: NetOptions, data: Splits, epochs: int, seed: int) -> dict[str, float]:
    """The test ELBO in nats per value, the squared error per value, checkerboards, weights.

    A net that diverges is trained again with a third of the learning rate.
    """
    for learning_rate in LEARNING_RATES:
        model = model_of(net, data.shape, seed)
        try:
            with tempfile.TemporaryDirectory() as folder:
                run = anogen.fit(
                    model, data, Path(folder) / "run", epochs=epochs, seed=seed, batch_size=32,
                    learning_rate=learning_rate,
                )  # fmt: skip
                best: Any = run.load_model()
            break
        except DivergenceError as error:
            print(error, flush=True)
    else:
        raise SystemExit("it diverges at every learning rate")
    values = int(np.prod(data.shape))
    found = anogen.evaluate(best, data.test, likelihood_images=0)
    with torch.inference_mode():
        x = torch.from_numpy(data.test.pixels[:200] / np.float32(255))
        rebuilt = torch.cat([best.reconstruct(part) for part in x.split(20)]).numpy()
    return {
        "learning_rate": learning_rate,
        "elbo_nats_per_value": found["elbo_nats"] / values,
        "squared_error_per_value": found["squared_error"] / values,
        "checkerboard": checkered(rebuilt) / checkered(x.numpy()),
        "weights": sum(p.numel() for p in model.parameters()),
    }


def checkered(images: NDArray[Any]) -> float:
    """The share of a chess board's pattern in the differences of neighbours, `[n, c, h, w]`."""
    across = (images[..., :, 1:] - images[..., :, :-1])[..., 1:, :]
    down = (images[..., 1:, :] - images[..., :-1, :])[..., :, 1:]
    board = (images[..., 1:, 1:] + images[..., :-1, :-1]
             - images[..., 1:, :-1] - images[..., :-1, 1:])  # fmt: skip
    return float((board**2).mean() / ((across**2).mean() + (down**2).mean()))


def rate(net: NetOptions, data: Splits, images: int = 320) -> float:
    """Images per second of training steps, batch 32."""
    device = choose_device("cpu")
    model = model_of(net, data.shape, 0).train()
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    players, dtype = make_players(model, 1e-3, (0.9, 0.999)), choose_precision("auto", device)
    x = torch.from_numpy(data.train.pixels[:32] / np.float32(255))
    x = x.contiguous(memory_format=torch.channels_last)

    def work() -> None:
        for step in range(images // 32):
            train_step(model, players, x, step, dtype)

    return statistics.median(per_second(images, work) for _ in range(2))


if __name__ == "__main__":
    main()
