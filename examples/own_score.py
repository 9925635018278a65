"""A score of one's own: how much sharper or duller an image is than its reconstruction.

python examples/own_score.py --data mnist --out fashion-mnist --epochs 3 --run runs/own_score
"""

import argparse

import torch
from torch import Tensor

import anogen
from anogen.detection.judge import judge
from anogen.detection.view import Score, View
from anogen.evaluation.reconstruction import sharpness
from anogen.models.base import Reconstructs


def sharpness_difference(view: View) -> Tensor:
    """One number for each image of the view, `[b]`; higher means further out."""
    return (sharpness(view.rebuilt) - sharpness(view.x)).abs()


anogen.SCORES["sharpness_difference"] = Score(
    sharpness_difference,
    needs=(Reconstructs,),
    unit="variance of the Laplacian",
    source="this example",
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--out", default="digits+uniform_noise")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--run", default="runs/own_score")
    options = parser.parse_args()
    data, other = anogen.load_data(options.data), anogen.load_data(options.out)
    torch.manual_seed(0)
    run = anogen.fit(anogen.VAE(data.shape), data, options.run, epochs=options.epochs)
    verdicts = judge(run.load_model(), data, [other.test], scores=["sharpness_difference", "fused"])
    for verdict in verdicts:
        row = verdict.row(data.name)
        print(f"{row['score']:<21} AUROC {row['auroc']:.3f}")
