"""The style-based GAN, at the scale of small images."""

from collections.abc import Hashable, Sequence

import torch
from torch import Generator, Tensor, nn

from anogen.errors import UsageError
from anogen.models.adversarial import (
    ADVERSARIAL,
    Adversarial,
    check_adversarial_options,
    discriminator_penalty,
    generator_rests,
    logit_terms,
)
from anogen.models.augmentation import AdaptiveAugmentation
from anogen.models.base import GenerativeModel, Losses, check_latent
from anogen.models.judgement import Judgement, check_conditional_options, held
from anogen.nets import NetOptions, Shape
from anogen.nets.condition import condition_on
from anogen.nets.options import MAX_DEPTH, check_count
from anogen.nets.style import MappingNetwork, StyleDiscriminator, SynthesisNetwork

MEAN_DECAY = 0.995
"""Of the running mean of styles, which truncation aims at (Karras et al. 2019, appendix B)."""
PATH_DECAY = 0.99
"""Of the running mean of path lengths (Karras et al. 2020, section 3.2)."""


class StyleGAN(GenerativeModel):
    """Style-based generator with the paper's encoder shape as discriminator, each with its loss.

    A mapping network turns the latent into a style; every layer of the synthesis network is
    modulated by one, and by noise. In training a share of the images mixes two styles at a random
    layer. The discriminator's R1 penalty and the generator's path-length penalty are lazy: added
    now and then, with that factor. The discriminator sees the variety of a batch.

    What differs from the published networks, for small images and short trainings: no progressive
    growing; images bounded by a sigmoid; the first convolution of a doubling acts before it, which
    takes a quarter of the work.

    Args:
        shape: channels, height and width of the images; height and width at least 16.
        latent: length of the noise vector, standard normal.
        style: length of a style.
        mapping_layers: dense layers of the mapping network.
        mixing: probability that an image mixes two styles in training.
        truncation: in evaluation mode styles are pulled towards their mean, to this share of their
            distance: 1 leaves them, less gives more typical and less varied images. It may be
            set on the trained model.
        loss: as in `GAN`. Published is `non_saturating` with R1 alone; in short trainings on
            small images that gave one image for all latents, and `relativistic` with R1 and R2
            (Huang et al. 2024) did not.
        r1: weight of the gradient penalty on real images.
        r2: weight of the gradient penalty on generated images.
        penalty_every: steps between these penalties.
        critic_steps: steps of the discriminator for each of the generator.
        path_length: weight of the path-length penalty, which makes a step in style space change
            images by a constant amount; 0 turns it off.
        path_length_every: steps between path-length penalties.
        ada: target of adaptive augmentation, for small data sets: the surer the discriminator is
            of real images, the more is augmented. 0.6 is usual, 0 turns it off; see
            `AdaptiveAugmentation`.
        residual: the published discriminator of residual blocks, in the place of single
            convolutions: slower, and in short trainings on small images no better.
        classes: how many labels both players are conditional on; 0: none.
        text: length of the vectors that captions become, on which both players are
            conditional; 0: none. See `anogen.nets.text.TextCondition`, which the player of the
            discriminator trains.
        contrast: with `text`, weight of the term by which images and captions find each other.
        mismatched: share of the discriminator's loss that is about real images with the condition
            of another one, which it is to refuse (Reed et al. 2016, section 4.1).
        width: filters at full size; see `anogen.nets.NetOptions` for this and what follows.
        growth: what they are multiplied with at smaller sizes.
        depth: how often the image size is doubled.

    Raises:
        UsageError: options that contradict one another, or images too small.

    Source: Karras et al. 2019 and 2020; the paper, section 2.

    Examples:
        >>> model = StyleGAN((1, 28, 28), latent=8, style=16, width=8)
        >>> sorted(model.losses(torch.rand(4, 1, 28, 28), step=0).players)
        ['discriminator', 'generator']
    """

    monitor = "frechet_distance"
    recordable = True
    mean_style: Tensor
    mean_path: Tensor

    def __init__(
        self,
        shape: Shape,
        latent: int = 64,
        *,
        style: int = 128,
        mapping_layers: int = 4,
        mixing: float = 0.9,
        truncation: float = 1.0,
        loss: Adversarial = "relativistic",
        r1: float = 1.0,
        r2: float = 1.0,
        penalty_every: int = 4,
        critic_steps: int = 1,
        path_length: float = 0.1,
        path_length_every: int = 8,
        ada: float = 0.0,
        residual: bool = False,
        classes: int = 0,
        text: int = 0,
        contrast: float = 1.0,
        mismatched: float = 0.0,
        width: int | None = None,
        growth: float = 2.0,
        depth: int | None = None,
    ) -> None:
        super().__init__()
        check_latent(latent)
        self.condition = condition_on(classes, text)
        if text:  # whose words are looked at on the way
            self.recordable = False
        check_adversarial_options(
            loss, r1=r1, r2=r2, penalty_every=penalty_every, critic_steps=critic_steps,
            batch_norm=False,
        )  # fmt: skip
        if not 0 <= mixing <= 1 or not 0 <= truncation <= 1:
            raise UsageError("mixing and truncation must lie in [0, 1]")
        if path_length < 0 or min(path_length_every, mapping_layers) < 1:
            raise UsageError(
                "path_length must not be negative; path_length_every and mapping_layers are at "
                "least 1"
            )
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.latent, self.mixing, self.truncation = latent, mixing, truncation
        check_conditional_options(contrast, mismatched)
        self.critic_steps, self.contrast, self.mismatched = critic_steps, contrast, mismatched
        self.loss: Adversarial = loss
        self.r1, self.r2, self.penalty_every = r1, r2, penalty_every
        self.path_length, self.path_length_every = path_length, path_length_every
        check_count("style", style)
        check_count("mapping_layers", mapping_layers, MAX_DEPTH)
        self.mapping = MappingNetwork(latent, style, mapping_layers, self.condition.size)
        sizes: NetOptions = {"width": width, "growth": growth, "depth": depth}
        self.synthesis = SynthesisNetwork(self.shape, style, **sizes)
        self.discriminator = StyleDiscriminator(
            self.shape, self.condition.outputs, residual=residual, **sizes
        )
        self.augment = AdaptiveAugmentation(ada)
        self.register_buffer("mean_style", torch.zeros(style))
        self.register_buffer("mean_path", torch.zeros(()))

    def players(self) -> dict[str, list[nn.Module]]:
        """The generator, which is mapping and synthesis, and the discriminator."""
        return {
            "generator": [self.mapping, self.synthesis],
            "discriminator": [self.discriminator, self.condition],
        }

    def losses(self, x: Tensor, step: int | None = None, condition: Tensor | None = None) -> Losses:
        """Both players' losses, and per example the logits of real and of generated images."""
        vector = self.condition(condition)
        styles = self._mixed(len(x), x.device, vector)
        if self.training:
            with torch.no_grad():
                self.mean_style.lerp_(styles[:, 0].float().mean(0), 1 - MEAN_DECAY)
        x, fake = self.augment(x), self.augment(self.synthesise(styles))
        outputs = self._outputs(x), self._outputs(fake)
        judged = Judgement(self.condition, *outputs, vector, condition)
        real_logit, fake_logit = judged.real_logit, judged.fake_logit
        self.augment.follow(real_logit, fake_logit, self.loss)
        kind = ADVERSARIAL[self.loss]
        discriminator = judged.discriminator_loss(kind, self.contrast, self.mismatched)
        generator = judged.generator_loss(kind, self.contrast)
        if step is not None and step % self.penalty_every == 0:
            discriminator = discriminator + self.penalty_every * discriminator_penalty(
                lambda image: self.logit(image, held(vector)),
                x,
                fake,
                self.loss,
                r1=self.r1,
                r2=self.r2,
            )
        if step is not None and self._path_is_due(step):
            weight = self.path_length_every * self.path_length
            half = max(1, len(x) // 2)
            some = None if vector is None else vector[:half]
            generator = generator + weight * self._path_penalty(half, x.device, some)
        players = {"generator": generator, "discriminator": discriminator}
        if generator_rests(step, self.critic_steps):
            del players["generator"]
        return Losses(players, logit_terms(real_logit, fake_logit, self.loss))

    def phase(self, step: int) -> Hashable | None:
        """Which penalties are due; see `GenerativeModel.phase`."""
        rests = generator_rests(step, self.critic_steps)
        return step % self.penalty_every == 0, self._path_is_due(step), rests

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The image of a noise vector `[b, latent]`: float32 `[b, c, h, w]` in [0, 1]."""
        return self.synthesise(self.truncate(self.styles(z, condition), self.truncation))

    def decode_sample(
        self, z: Tensor, generator: Generator, condition: Tensor | None = None
    ) -> Tensor:
        """The images of noise vectors with new noise in every layer, as in training."""
        styles = self.truncate(self.styles(z, condition), self.truncation)
        noise = [
            torch.randn(len(z), 1, *size, generator=generator, dtype=torch.float32).to(z.device)
            for size in self.synthesis.noise_sizes
        ]
        return self.synthesise(styles, noise)

    def styles(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """One style for every layer, all the same: float32 `[b, layers, style]`."""
        style = self.mapping(z, self.condition(condition)).float()
        return style[:, None].expand(-1, self.synthesis.layers_count, -1)

    def truncate(self, styles: Tensor, share: float) -> Tensor:
        """Styles `[b, layers, style]` pulled towards their mean, to `share` of their distance."""
        return torch.lerp(self.mean_style, styles, share)

    def synthesise(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """The image of styles `[b, layers, style]`: float32 `[b, c, h, w]`.

        `noise` is that of every layer, `[b, 1, h, w]`; default: drawn anew in training, and
        otherwise always the same.

        Bounded by a sigmoid, in training too. The published network is not: where most pixels are
        exactly black, as in MNIST, that leaves the discriminator an easy cue.
        """
        return torch.sigmoid(self.synthesis(styles, noise).float())

    def logit(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """How real an image seems (as one of its class), as a logit: float32 `[b]`."""
        return self.condition.logit(self._outputs(x), condition)

    def likeness(self, x: Tensor, condition: Tensor) -> Tensor:
        """Cosines of images and texts, where the model takes these: float32 `[images, texts]`."""
        return self.condition.likeness(self._outputs(x), condition)

    def _outputs(self, x: Tensor) -> Tensor:
        """The discriminator's, `[b, outputs]`, of images in [0, 1]."""
        return self.discriminator(2 * x - 1)

    def _mixed(self, count: int, device: torch.device, condition: Tensor | None) -> Tensor:
        """Styles of random latents, where training mixes some from a random layer on."""
        z = torch.randn(count, self.latent, device=device, dtype=torch.float32)
        first = self.styles(z, condition)
        if not self.training or not self.mixing:
            return first
        second = self.styles(torch.randn_like(z), condition)
        layers = self.synthesis.layers_count
        start = torch.randint(1, layers, (count, 1), device=device)
        mixes = torch.rand(count, 1, device=device) < self.mixing
        taken = mixes & (torch.arange(layers, device=device) >= start)
        return torch.where(taken[:, :, None], second, first)

    def _path_is_due(self, step: int) -> bool:
        """Whether the generator takes this step, and it is one of those with the path penalty."""
        if not self.path_length or generator_rests(step, self.critic_steps):
            return False
        return step // self.critic_steps % self.path_length_every == 0

    def _path_penalty(self, count: int, device: torch.device, condition: Tensor | None) -> Tensor:
        """(‖Jᵀy‖ − its running mean)², mean over images (Karras et al. 2020, equation 4)."""
        with torch.autocast(device.type, enabled=False):
            styles = self._mixed(count, device, condition)
            images = self.synthesise(styles)
            direction = torch.randn_like(images) / images[0, 0].numel() ** 0.5
            (jacobian,) = torch.autograd.grad((images * direction).sum(), styles, create_graph=True)
        lengths = (jacobian.square().sum(2).mean(1) + 1e-12).sqrt()
        if self.training:
            with torch.no_grad():
                self.mean_path.lerp_(lengths.mean(), 1 - PATH_DECAY)
        return (lengths - self.mean_path).square().mean()
