"""The VAE-GAN: a VAE whose reconstruction error is measured in a discriminator's features."""

import copy
import math
from collections.abc import Hashable, Sequence
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from anogen import nets
from anogen.errors import UsageError
from anogen.models.adversarial import (
    ADVERSARIAL,
    Adversarial,
    check_adversarial_options,
    gradient_penalty,
    logit_terms,
)
from anogen.models.base import GenerativeModel, Losses, check_latent
from anogen.models.damage import Damage
from anogen.models.judgement import Judgement, check_conditional_options, held
from anogen.models.terms import kl_standard_normal, squared_error
from anogen.nets import Encoder, NetOptions, Shape
from anogen.nets.condition import condition_on, repeated

VAEGANLoss = Literal["non_saturating", "saturating", "hinge"]


class VAEGAN(GenerativeModel):
    """VAE-GAN of Larsen et al. 2016: encoder, decoder and discriminator, each with its own loss.

    With f the discriminator's features at one layer, x̃ the reconstruction and x_p a sample from the
    prior, in this model, per image:

    - the encoder minimises KL(q(z|x) ‖ p(z)) + ½‖f(x) − f(x̃)‖² (nats; summed over features);
    - the decoder minimises γ · ½‖f(x) − f(x̃)‖² + the adversarial loss on x̃ and on x_p;
    - the discriminator minimises the adversarial loss alone, on x, x̃ and x_p.

    No adversarial gradient reaches the encoder and no reconstruction gradient the discriminator,
    because the training step differentiates each loss by its own player's parameters only.

    Args:
        shape: channels, height and width of the images.
        latent: number of latent variables.
        gamma: weight of the feature error in the decoder's loss, for an error *averaged* over
            features and multiplied by the number of pixels, so that it means the same at every
            layer; Larsen's γ, for the sum, is `gamma * pixels / features` (`larsen_gamma`).
        beta: weight of the KL term in the encoder's loss.
        pixel_weight: weight of the squared error of pixels in the losses of encoder and decoder; 0
            is Larsen's model, more is the paper's reading of "reconstruction loss".
        feature_layer: which convolutional layer of the discriminator the features are of, 0 the
            first, −1 the last.
        loss: `non_saturating`, `saturating` (Larsen's) or `hinge`.
        r1: weight of the gradient penalty on real images; needs `discriminator_batch_norm` false.
        penalty_every: steps between penalties.
        gate: Larsen's equilibrium: with the discriminator's cross-entropy on real or on generated
            images below 0.68 − `gate` it rests, above 0.68 + `gate` the decoder does, and if both
            would, none does; None: nobody rests.
        discriminator_batch_norm: normalisation in the discriminator, as in the paper's.
        corruption: where given, the encoder sees images damaged so and the decoder's are compared
            with the images as they were, so that the model learns to restore them; see
            `anogen.models.damage.Damage`.
        classes: how many labels decoder and discriminator are conditional on; 0: none. The
            encoder sees the image alone.
        text: length of the vectors that captions become, on which decoder and discriminator are
            conditional; 0: none. See `anogen.nets.text.TextCondition`, which the decoder's player
            trains.
        contrast: with `text`, weight of the term by which images and captions find each other.
        mismatched: share of the discriminator's loss that is about real images with the condition
            of another one, which it is to refuse (Reed et al. 2016, section 4.1).
        options: of all nets, see `anogen.nets.NetOptions`; `batch_norm` is that of encoder and
            decoder.

    Raises:
        UsageError: options that contradict one another, a feature layer that does not exist, or
            images too small.

    Source: Larsen et al. 2016, algorithm 1; the paper, sections 3.3 and 4.2.2.

    Examples:
        >>> import torch
        >>> model = VAEGAN((1, 28, 28), latent=2)
        >>> sorted(model.losses(torch.rand(4, 1, 28, 28), step=0).players)
        ['decoder', 'discriminator', 'encoder']
    """

    monitor = "sampled_squared_error"
    recordable = True

    EQUILIBRIUM = 0.68
    """Larsen's target for the discriminator's cross-entropy; log 2 ≈ 0.69 is a fair guess."""

    def __init__(
        self,
        shape: Shape,
        latent: int = 16,
        *,
        gamma: float = 1.0,
        beta: float = 1.0,
        pixel_weight: float = 0.0,
        feature_layer: int = 2,
        loss: VAEGANLoss = "non_saturating",
        r1: float = 1.0,
        penalty_every: int = 8,
        gate: float | None = None,
        discriminator_batch_norm: bool = False,
        corruption: str | None = None,
        classes: int = 0,
        text: int = 0,
        contrast: float = 1.0,
        mismatched: float = 0.0,
        **options: Unpack[NetOptions],
    ) -> None:
        super().__init__()
        check_latent(latent)
        self.condition = condition_on(classes, text)
        if text:  # whose words are looked at on the way
            self.recordable = False
        _check_weights(loss, gamma, beta, pixel_weight, gate)
        check_adversarial_options(
            loss, r1=r1, r2=0.0, penalty_every=penalty_every, batch_norm=discriminator_batch_norm
        )
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.latent, self.gamma, self.beta, self.pixel_weight = latent, gamma, beta, pixel_weight
        self.feature_layer, self.r1, self.penalty_every = feature_layer, r1, penalty_every
        self.damage = None if corruption is None else Damage(corruption)
        check_conditional_options(contrast, mismatched)
        self.contrast, self.mismatched = contrast, mismatched
        self.loss: Adversarial = loss
        self.gate = gate
        self.encoder = nets.encoder(shape, 2 * latent, **options)
        self.decoder = nets.decoder(shape, latent + self.condition.size, **options)
        of_discriminator: NetOptions = {**options, "batch_norm": discriminator_batch_norm}
        self.discriminator = nets.encoder(shape, self.condition.outputs, **of_discriminator)
        _refuse_layer(feature_layer, self.discriminator)

    def players(self) -> dict[str, list[nn.Module]]:
        """Encoder, decoder and discriminator."""
        return {
            "encoder": [self.encoder],
            "decoder": [self.decoder, self.condition],
            "discriminator": [self.discriminator],
        }

    def losses(self, x: Tensor, step: int | None = None, condition: Tensor | None = None) -> Losses:
        """Three losses from one pass; per example: errors, KL in nats, logits."""
        vector = self.condition(condition)
        mu, logvar = self.posterior(self._seen(x))
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        rebuilt, drawn = self.decode(
            torch.cat([z, torch.randn_like(z)]), repeated(vector, 2)
        ).chunk(2)
        features, outputs = self._judge(torch.cat([x, rebuilt, drawn]))
        error = 0.5 * squared_error(*features.float().chunk(3)[:2])
        pixels = squared_error(x, rebuilt)
        kl = kl_standard_normal(mu, logvar).sum(1)
        real, of_rebuilt, of_drawn = outputs.chunk(3)
        of_both = [Judgement(self.condition, real, fake, vector, condition)
                   for fake in (of_rebuilt, of_drawn)]  # fmt: skip
        fool, judge = self._adversarial(of_both)
        if step is not None and self.r1 and step % self.penalty_every == 0:
            penalty = gradient_penalty(lambda image: self.logit(image, held(vector)), x).mean()
            judge = judge + self.penalty_every * self.r1 * penalty
        players = {
            "encoder": (self.beta * kl + error + self.pixel_weight * pixels).mean(),
            "decoder": (self._gamma_per_feature(features) * error).mean()
            + self.pixel_weight * pixels.mean()
            + fool,
            "discriminator": judge,
        }
        terms = {"sampled_squared_error": pixels, "feature_error": error, "kl_nats": kl}
        if step is not None:
            fakes = torch.cat([judged.fake_logit for judged in of_both])
            self._rest(players, of_both[0].real_logit, fakes)
        drawn_logits = of_both[1].real_logit, of_both[1].fake_logit
        return Losses(players, terms | logit_terms(*drawn_logits, self.loss))

    def phase(self, step: int) -> Hashable | None:
        """With the penalty or without; a gate looks at values, damage is made on the processor."""
        if self.gate is not None or self.damage is not None:
            return None
        return step % self.penalty_every == 0

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each float32 `[b, latent]`."""
        mu, logvar = self.encoder(x).float().chunk(2, 1)
        return mu, logvar

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of q(z|x), float32 `[b, latent]`."""
        return self.posterior(x)[0]

    def kl(self, x: Tensor) -> Tensor:
        """KL(q(z|x) ‖ p(z)) in nats, one value per latent: float32 `[b, latent]`."""
        return kl_standard_normal(*self.posterior(x))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The image of a latent vector `[b, latent]`: float32 `[b, c, h, w]` in [0, 1]."""
        return torch.sigmoid(self.decoder(self.condition.append(z, condition)).float())

    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The image decoded from the posterior's mean: float32 `[b, c, h, w]` in [0, 1]."""
        return self.decode(self.posterior_mean(x), condition)

    def logit(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """How real an image seems (as one of its class), as a logit: float32 `[b]`."""
        return self.condition.logit(self.discriminator(x), condition)

    def likeness(self, x: Tensor, condition: Tensor) -> Tensor:
        """Cosines of images and texts, where the model takes these: float32 `[images, texts]`."""
        return self.condition.likeness(self.discriminator(x), condition)

    def larsen_gamma(self) -> float:
        """γ as Larsen et al. write it, for a feature error summed over features."""
        device = next(self.parameters()).device
        judge = copy.deepcopy(self.discriminator).eval()  # statistics of this one stay as they are
        with torch.no_grad():
            features = judge.features(torch.zeros(2, *self.shape, device=device))
        return self._gamma_per_feature(features[self.feature_layer])

    def _gamma_per_feature(self, features: Tensor) -> float:
        return self.gamma * math.prod(self.shape) / features[0].numel()

    def _judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features at the chosen layer, and the discriminator's outputs `[b, outputs]`."""
        features = self.discriminator.features(x)
        return features[self.feature_layer], self.discriminator.from_features(features)

    def _adversarial(self, of_both: Sequence[Judgement]) -> tuple[Tensor, Tensor]:
        """The decoder's and the discriminator's adversarial loss, mean over x̃ and x_p.

        The decoder's player trains what makes vectors of texts, too, so it has the term by which
        real images find theirs.
        """
        kind = ADVERSARIAL[self.loss]
        fool = [judged.generator_loss(kind, self.contrast) for judged in of_both]
        judge = [judged.discriminator_loss(kind, self.contrast, self.mismatched)
                 for judged in of_both]  # fmt: skip
        found = self.contrast * of_both[0].contrast_real() if self.contrast else 0.0
        return torch.stack(fool).mean() + found, torch.stack(judge).mean()

    def _rest(self, players: dict[str, Tensor], real: Tensor, fake: Tensor) -> None:
        """Larsen's equilibrium gate: who is too far ahead rests, unless both would."""
        if self.gate is None:
            return
        soft = nn.functional.softplus
        errors = soft(-real.detach()).mean().item(), soft(fake.detach()).mean().item()
        discriminator_rests = min(errors) < self.EQUILIBRIUM - self.gate
        decoder_rests = max(errors) > self.EQUILIBRIUM + self.gate
        if discriminator_rests and not decoder_rests:
            del players["discriminator"]
        if decoder_rests and not discriminator_rests:
            del players["decoder"]


def _check_weights(
    loss: str,
    gamma: float,
    beta: float,
    pixel_weight: float,
    gate: float | None,
) -> None:
    if loss in ("wasserstein", "relativistic"):
        raise UsageError(f"VAEGAN has no loss {loss}; choose non_saturating, saturating or hinge")
    if min(gamma, beta, pixel_weight) < 0:
        raise UsageError("gamma, beta and pixel_weight must not be negative")
    if gate is not None and not 0 < gate < VAEGAN.EQUILIBRIUM:
        raise UsageError(f"gate must lie between 0 and {VAEGAN.EQUILIBRIUM}, found {gate}")


def _refuse_layer(feature_layer: int, discriminator: Encoder) -> None:
    layers = len(discriminator.layers)
    if not -layers <= feature_layer < layers:
        raise UsageError(
            f"feature_layer {feature_layer}: the discriminator has layers 0 to {layers - 1}; set "
            "feature_layer to one of these"
        )
