"""A model of one's own: an autoencoder that learns to take noise away, in one class.

python examples/own_model.py --data mnist --epochs 3 --run runs/denoising
"""

import argparse
from typing import Unpack

import torch
from torch import Tensor, nn

import anogen
from anogen import nets


class DenoisingAutoencoder(anogen.GenerativeModel):
    """Encodes an image with noise and decodes the image without it."""

    monitor = "squared_error"

    def __init__(
        self,
        shape: nets.Shape,
        latent: int = 16,
        *,
        noise: float = 0.3,
        **options: Unpack[nets.NetOptions],
    ) -> None:
        super().__init__()
        self.shape, self.latent, self.noise = shape, latent, noise
        self.encoder = nets.encoder(shape, latent, **options)
        self.decoder = nets.decoder(shape, latent, **options)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"autoencoder": [self]}

    def losses(
        self, x: Tensor, step: int | None = None, condition: Tensor | None = None
    ) -> anogen.Losses:
        rebuilt = self.reconstruct(x + self.noise * torch.randn_like(x))
        error = (x - rebuilt).square().flatten(1).sum(1)
        return anogen.Losses({"autoencoder": error.mean()}, {"squared_error": error})

    def posterior_mean(self, x: Tensor) -> Tensor:
        return self.encoder(x).float()

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.sigmoid(self.decoder(z).float())

    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.decode(self.posterior_mean(x))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--run", default="runs/denoising")
    options = parser.parse_args()
    data = anogen.load_data(options.data)
    torch.manual_seed(0)
    model = DenoisingAutoencoder(data.shape)
    run = anogen.fit(model, data, options.run, epochs=options.epochs, batch_size=32)
    trained = run.load_model(allow_code=True)
    result = anogen.evaluate(trained, data.test)
    print(f"squared error on test images: {result['squared_error']:.1f}")
    detector = anogen.Detector.fit(trained, data)
    noise = anogen.corrupt(data.test, "uniform_noise")
    print(f"noise called out: {detector.predict(noise, 0.05).mean():.0%}")
