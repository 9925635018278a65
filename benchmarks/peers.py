"""pythae's VAE and VAEGAN with its own trainers on our nets: what we measure ourselves against."""

# pythae is installed by `make bench` only
# pyright: reportMissingImports=false, reportUntypedBaseClass=false

from pathlib import Path
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE as PeerVAE  # noqa: N811
from pythae.models import VAEGAN as PeerVAEGAN  # noqa: N811
from pythae.models import VAEConfig, VAEGANConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from pythae.trainers import (
    BaseTrainer,
    BaseTrainerConfig,
    CoupledOptimizerAdversarialTrainer,
    CoupledOptimizerAdversarialTrainerConfig,
)
from torch import Tensor, nn

from anogen import VAE, VAEGAN, nets
from anogen.nets import Shape


class Encoder(BaseEncoder):
    """Our encoder, as pythae calls one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        mu, logvar = self.net(x).chunk(2, 1)
        return ModelOutput(embedding=mu, log_covariance=logvar)


class Decoder(BaseDecoder):
    """Our decoder, as pythae calls one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Any:
        return ModelOutput(reconstruction=self.net(z).sigmoid())


class Discriminator(BaseDiscriminator):
    """Our discriminator, as pythae calls one: layers counted from 1, a probability at the end."""

    def __init__(self, net: nets.Encoder) -> None:
        super().__init__()
        self.net = net
        self.depth = len(net.layers) + 1

    def forward(self, x: Tensor, output_layer_levels: list[int] | None = None) -> Any:
        output = ModelOutput()
        for index, layer in enumerate(self.net.layers, 1):
            x = layer(x)
            if output_layer_levels and index in output_layer_levels:
                output[f"embedding_layer_{index}"] = x
                return output
        output["embedding"] = self.net.head(x.flatten(1)).sigmoid()
        return output


def vae_trainer(shape: Shape, latent: int, pixels: Tensor, folder: str | Path, batch: int) -> Any:
    """pythae's trainer of its VAE, ready for `train_step(epoch)`, on float32 `[n, c, h, w]`."""
    torch.manual_seed(0)
    ours = VAE(shape, latent)
    config = VAEConfig(input_dim=shape, latent_dim=latent)
    model = PeerVAE(config, Encoder(ours.encoder), Decoder(ours.decoder))
    settings = BaseTrainerConfig(
        output_dir=str(folder), per_device_train_batch_size=batch, no_cuda=True
    )
    return _ready(BaseTrainer(model, _dataset(pixels), training_config=settings))


def vaegan_trainer(
    shape: Shape, latent: int, pixels: Tensor, folder: str | Path, batch: int, rate: float = 5e-4
) -> Any:
    """pythae's trainer of its VAEGAN on the paper's nets; all but `rate` as pythae has it."""
    torch.manual_seed(0)
    ours = VAEGAN(shape, latent, discriminator_batch_norm=True, r1=0.0)
    config = VAEGANConfig(input_dim=shape, latent_dim=latent, reconstruction_layer=3)
    model = PeerVAEGAN(
        config, Encoder(ours.encoder), Decoder(ours.decoder), Discriminator(ours.discriminator)
    )
    settings = CoupledOptimizerAdversarialTrainerConfig(
        output_dir=str(folder), per_device_train_batch_size=batch, no_cuda=True,
        encoder_learning_rate=rate, decoder_learning_rate=rate, discriminator_learning_rate=rate,
    )  # fmt: skip
    return _ready(
        CoupledOptimizerAdversarialTrainer(model, _dataset(pixels), training_config=settings)
    )


def _dataset(pixels: Tensor) -> Any:
    return BaseDataset(pixels, torch.zeros(len(pixels)))


def _ready(trainer: Any) -> Any:
    trainer.prepare_training()
    trainer.callback_handler.callbacks = []  # no progress bar: we time the training
    return trainer
