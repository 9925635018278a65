"""The generative adversarial network, on the shapes of the paper's decoder and encoder."""

from collections.abc import Hashable
from typing import Unpack

import torch
from torch import Tensor, nn

from anogen import nets
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


class GAN(GenerativeModel):
    """Generative adversarial network: a generator and a discriminator, each with its own loss.

    The generator has the shape of the paper's decoder, with a sigmoid; the discriminator that of
    its encoder, with one logit. Both losses come from one forward pass. The penalties on the
    discriminator's gradient are added every `penalty_every` steps with that factor, so that their
    mean weight is the same at a fraction of the cost (Karras et al. 2020, section 2.2).

    Args:
        shape: channels, height and width of the images.
        latent: length of the noise vector, standard normal.
        loss: `non_saturating`, `saturating`, `hinge`, `wasserstein` (with its gradient penalty of
            weight 10; it needs r1 0, and is published with 5 critic_steps and penalty_every 1) or
            `relativistic`.
        r1: weight of the gradient penalty on real images; it needs a discriminator without batch
            normalisation, so set it to 0 for one with it.
        r2: weight of the gradient penalty on generated images.
        penalty_every: steps between penalties.
        critic_steps: steps of the discriminator for each of the generator.
        spectral_norm: bound the Lipschitz constant of the discriminator's layers (Miyato 2018).
        discriminator_batch_norm: the paper's discriminator has it; it couples the images of a
            batch, so it cannot go with penalties, `wasserstein` or `relativistic`.
        ada: target of adaptive augmentation, for small data sets: the surer the discriminator is
            of real images, the more is augmented. 0.6 is usual, 0 turns it off; see
            `AdaptiveAugmentation`.
        classes: how many labels both players are conditional on; 0: none.
        text: length of the vectors that captions become, on which both players are conditional; 0:
            none. See `anogen.nets.text.TextCondition`, which the discriminator's player trains.
        contrast: with `text`, weight of the term by which images and captions find each other, in
            the discriminator's loss on real images and in the generator's on its own.
        contrast_first: with `text`, share of the steps, at the beginning of training, in which the
            discriminator learns that alone and the generator rests, so that the game begins with a
            discriminator that reads (as Xu et al. 2018, section 3.2, train their encoders before).
        mismatched: share of the discriminator's loss that is about real images with the condition
            of another one, which it is to refuse (Reed et al. 2016, section 4.1).
        options: of both nets, see `anogen.nets.NetOptions`; `batch_norm` is the generator's alone,
            `dropout` the discriminator's.

    Raises:
        UsageError: options that contradict one another, or images too small.

    Source: Goodfellow et al. 2014; the paper, section 3.2.

    Examples:
        >>> import torch
        >>> model = GAN((1, 28, 28), latent=8)
        >>> sorted(model.losses(torch.rand(4, 1, 28, 28), step=0).players)
        ['discriminator', 'generator']
    """

    monitor = "frechet_distance"
    recordable = True

    def __init__(
        self,
        shape: Shape,
        latent: int = 64,
        *,
        loss: Adversarial = "non_saturating",
        r1: float = 1.0,
        r2: float = 0.0,
        penalty_every: int = 8,
        critic_steps: int = 1,
        spectral_norm: bool = False,
        discriminator_batch_norm: bool = False,
        ada: float = 0.0,
        classes: int = 0,
        text: int = 0,
        contrast: float = 1.0,
        contrast_first: float = 0.0,
        mismatched: float = 0.0,
        **options: Unpack[NetOptions],
    ) -> None:
        super().__init__()
        check_latent(latent)
        self.condition = condition_on(classes, text)
        if text:  # whose words are looked at on the way
            self.recordable = False
        check_adversarial_options(
            loss, r1=r1, r2=r2, penalty_every=penalty_every, critic_steps=critic_steps,
            batch_norm=discriminator_batch_norm,
        )  # fmt: skip
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.latent, self.r1, self.r2, self.penalty_every = latent, r1, r2, penalty_every
        self.loss: Adversarial = loss
        check_conditional_options(contrast, mismatched, contrast_first)
        self.contrast_first = contrast_first if text else 0.0
        self.plans = self.contrast_first > 0
        self.critic_steps, self.contrast, self.mismatched = critic_steps, contrast, mismatched
        self.augment = AdaptiveAugmentation(ada)
        of_generator: NetOptions = {**options, "dropout": 0.0}
        of_discriminator: NetOptions = {**options, "batch_norm": discriminator_batch_norm}
        self.generator = nets.decoder(shape, latent + self.condition.size, **of_generator)
        self.discriminator = nets.encoder(
            shape, self.condition.outputs, spectral_norm=spectral_norm, **of_discriminator
        )

    def players(self) -> dict[str, list[nn.Module]]:
        """The generator and the discriminator."""
        return {
            "generator": [self.generator],
            "discriminator": [self.discriminator, self.condition],
        }

    def losses(self, x: Tensor, step: int | None = None, condition: Tensor | None = None) -> Losses:
        """Both players' losses, and per example the logits of real and of generated images.

        Where the model is conditional, the generated images have the labels of the real ones.
        """
        vector = self.condition(condition)
        if step is not None and self._reads_only(step):
            return self._contrast_alone(x, vector, condition)
        noise = torch.randn(len(x), self.latent, device=x.device, dtype=torch.float32)
        x, fake = self.augment(torch.cat([x, self.decode(noise, vector)])).chunk(2)
        of_real, of_fake = self.discriminator(torch.cat([x, fake])).chunk(2)
        judged = Judgement(self.condition, of_real, of_fake, vector, condition)
        real_logit, fake_logit = judged.real_logit, judged.fake_logit
        self.augment.follow(real_logit, fake_logit, self.loss)
        kind = ADVERSARIAL[self.loss]
        discriminator = judged.discriminator_loss(kind, self.contrast, self.mismatched)
        if step is not None and step % self.penalty_every == 0:
            discriminator = discriminator + self.penalty_every * discriminator_penalty(
                lambda image: self.logit(image, held(vector)),
                x,
                fake,
                self.loss,
                r1=self.r1,
                r2=self.r2,
            )
        players = {"discriminator": discriminator}
        if not generator_rests(step, self.critic_steps):
            players = {"generator": judged.generator_loss(kind, self.contrast), **players}
        return Losses(players, logit_terms(real_logit, fake_logit, self.loss))

    def phase(self, step: int) -> Hashable | None:
        """With penalties or without, who rests; see `GenerativeModel.phase`."""
        if self._reads_only(step):
            return "contrast alone"
        return step % self.penalty_every == 0, generator_rests(step, self.critic_steps)

    def _reads_only(self, step: int) -> bool:
        return step < self.contrast_first * self.total_steps

    def _contrast_alone(self, x: Tensor, vector: Tensor | None, condition: Tensor | None) -> Losses:
        """The discriminator learns which text belongs to which real image; nobody plays yet."""
        found = self.condition.told_apart(self.discriminator(x), vector, condition)
        return Losses({"discriminator": found.mean()}, {"text_contrast_nats": found})

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The image of a noise vector `[b, latent]`: float32 `[b, c, h, w]` in [0, 1]."""
        return torch.sigmoid(self.generator(self.condition.append(z, condition)).float())

    def logit(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """How real an image seems (as one of its class), as a logit: float32 `[b]`."""
        return self.condition.logit(self.discriminator(x), condition)

    def likeness(self, x: Tensor, condition: Tensor) -> Tensor:
        """Cosines of images and texts, where the model takes these: float32 `[images, texts]`."""
        return self.condition.likeness(self.discriminator(x), condition)
