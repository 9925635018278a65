"""The systems that `anogen reproduce` trains: those of the paper, and the wider table."""

from dataclasses import dataclass, field
from typing import Any

WIDE_SHARE = 5
"""The systems of the wider table are trained for this part of the paper's epochs."""


@dataclass(frozen=True)
class System:
    """A model with its settings.

    Attributes:
        title: what the page calls it.
        model: its name in `MODELS`.
        preset: whose settings it has, but for the epochs.
        changes: arguments of the model that differ from the preset.
        reverse: whether it learns the out-of-distribution set instead, for the other direction.
        paper: whether the paper trains it; else it is one of the wider table.
        detects: whether it is judged as a detector.
        why: what it is there for.
    """

    title: str
    model: str
    preset: str
    why: str
    changes: dict[str, Any] = field(default_factory=dict[str, Any])
    reverse: bool = False
    paper: bool = False
    detects: bool = False

    def epochs(self, paper_epochs: int) -> int:
        """How long it is trained where the paper's systems have so many epochs."""
        return paper_epochs if self.paper else max(1, paper_epochs // WIDE_SHARE)


SYSTEMS = {
    "vae": System(
        "VAE", "VAE", "paper", "sections 3.1 and 4.4.1, Table 1; the detector of 4.4.4",
        paper=True, detects=True,
    ),
    "vaegan": System(
        "VAE-GAN", "VAEGAN", "paper", "sections 3.3 and 4.4.2, Table 1", paper=True
    ),
    "gan": System("GAN", "GAN", "recommended", "section 3.2", paper=True),
    "vae-reverse": System(
        "VAE, reverse", "VAE", "paper", "detection in the other direction", reverse=True,
        paper=True, detects=True,
    ),
    "vae-short": System(
        "VAE, short", "VAE", "paper", "the paper's VAE, trained as long as the wider table"
    ),
    "beta-vae": System("β-VAE, β = 4", "VAE", "paper", "section 2", {"beta": 4.0}),
    "vae-dense": System(
        "VAE, dense layers", "VAE", "paper", "section 4.5.1: do convolutions help?", {"net": "mlp"}
    ),
    "vae-dropout": System(
        "VAE, dropout 0.1", "VAE", "paper", "section 4.5.1: does dropout help?", {"dropout": 0.1}
    ),
    "vae-recommended": System(
        "VAE, learnt σ", "VAE", "recommended", "our preset: 64 latents, a learnt σ", detects=True
    ),
    "vae-recommended-reverse": System(
        "VAE, learnt σ, reverse", "VAE", "recommended", "our preset in the other direction",
        reverse=True, detects=True,
    ),
    "vaegan-recommended": System(
        "VAE-GAN, 16 latents", "VAEGAN", "recommended", "our preset: R1 and averaged weights"
    ),
    "stylegan": System("StyleGAN", "StyleGAN", "recommended", "section 2"),
    "ncpvae": System(
        "NCP-VAE", "NCPVAE", "recommended", "section 3.1.1, after Ran et al. 2022", detects=True
    ),
}  # fmt: skip
"""Every system by name, in the order of training; the name is that of its runs' folders."""
