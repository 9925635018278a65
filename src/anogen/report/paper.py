"""What the tables of the paper say, to stand beside our numbers."""

from typing import NamedTuple


class Table1Row(NamedTuple):
    """A row of Table 1: MNIST, after 50 epochs.

    Attributes:
        loss: what the paper calls so; we take it for the squared error summed over pixels.
        cosine_similarity: of images and their reconstructions, as a share.
    """

    loss: float
    cosine_similarity: float


TABLE_1 = {"VAE": Table1Row(39, 0.7308), "VAEGAN": Table1Row(28, 0.80126)}
"""By model."""
TABLE_2 = {
    "precision_0": 0.91, "recall_0": 0.99, "f1_0": 0.94,
    "precision_1": 0.98, "recall_1": 0.90, "f1_1": 0.94,
}  # fmt: skip
"""Of MNIST (label 0) against Fashion-MNIST (label 1)."""
