"""The variational autoencoder, with β, capacity, warm-up and free bits as arguments."""

import math
from collections.abc import Hashable
from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from anogen import nets
from anogen.errors import UsageError, unknown_name
from anogen.models.base import GenerativeModel, Losses, check_latent
from anogen.models.damage import Damage
from anogen.models.judgement import check_conditional_options
from anogen.models.terms import (
    bernoulli_nll,
    gaussian_nll,
    kl_standard_normal,
    normal_log_density,
    squared_error,
    total_correlation,
)
from anogen.nets import NetOptions, Shape
from anogen.nets.condition import condition_on

Likelihood = Literal["squared_error", "gaussian", "learned_sigma", "bernoulli"]
Output = Literal["sigmoid", "leaky_relu"]

MIN_SIGMA = 0.5 / 255
"""Half a grey level: a density of 8-bit pixels finer than that measures rounding."""


class VAE(GenerativeModel):
    """Variational autoencoder; a β-VAE where `beta` is not 1.

    The player `vae` minimises, in nats per image, −log p(x|z) + β·KL(q(z|x) ‖ p(z)), averaged
    over the batch; the options below change the second term. The evidence lower bound that is
    reported is log p(x|z) − KL with its constants, whatever they are.

    Args:
        shape: channels, height and width of the images.
        latent: number of latent variables.
        likelihood: what −log p(x|z) is. `squared_error`: the paper's sum of squares, which is a
            Gaussian of σ = √½ without its constant; `gaussian`: σ fixed to `sigma`;
            `learned_sigma`: one σ for all pixels, learnt, starting at `sigma`; `bernoulli`:
            cross-entropy on logits.
        sigma: standard deviation of a pixel, on the [0, 1] scale, for the two Gaussians.
        beta: weight of the KL term (Higgins et al. 2017).
        capacity: where given, the KL term is β·|KL − C| with C growing from 0 to this many nats
            over `capacity_steps` optimiser steps (Burgess et al. 2018, equation 8).
        capacity_steps: steps until the capacity is reached.
        kl_warmup_steps: steps over which the weight of the KL term grows from 0 to β.
        total_correlation: how much more than the rest of the KL term its part counts that says how
            much latents depend on one another: the KL term is `beta` · (KL + (`total_correlation` −
            1) · TC). More than 1 is a β-TCVAE (Chen et al. 2018, equation 4); TC is estimated
            within the batch.
        free_nats: KL that each latent may spend unpunished, in nats, batch average (free bits;
            Kingma et al. 2016, equation 15).
        corruption: where given, the encoder sees images damaged so and the decoder's are compared
            with the images as they were, so that the model learns to restore them; see
            `anogen.models.damage.Damage`.
        output: what bounds the image: `sigmoid`, or the paper's literal `leaky_relu`.
        classes: how many labels the decoder is conditional on; 0: none. The encoder sees the
            image alone, q(z|x), so that encoding and detection need no labels.
        text: length of the vectors that captions become, on which the decoder is conditional; 0:
            none. See `anogen.nets.text.TextCondition`. The encoder sees the image alone, and makes
            a vector of it that is compared with texts.
        contrast: with `text`, weight of the term by which images and captions find each other.
        options: of both nets; see `anogen.nets.NetOptions`.

    Raises:
        UsageError: options that contradict one another, or images too small.

    Source: Kingma & Welling 2014; the paper, sections 3.1 and 4.2.1.

    Examples:
        >>> import torch
        >>> model = VAE((1, 28, 28), latent=2)
        >>> losses = model.losses(torch.rand(4, 1, 28, 28))
        >>> sorted(losses.players), losses.terms["kl_nats"].shape
        (['vae'], torch.Size([4]))
    """

    monitor = "loss_vae"
    recordable = True

    def __init__(
        self,
        shape: Shape,
        latent: int = 16,
        *,
        likelihood: Likelihood = "squared_error",
        sigma: float = 0.25,
        beta: float = 1.0,
        capacity: float | None = None,
        capacity_steps: int = 25_000,
        kl_warmup_steps: int = 0,
        total_correlation: float = 1.0,
        free_nats: float = 0.0,
        corruption: str | None = None,
        output: Output = "sigmoid",
        classes: int = 0,
        text: int = 0,
        contrast: float = 1.0,
        **options: Unpack[NetOptions],
    ) -> None:
        super().__init__()
        check_latent(latent)
        self.condition = condition_on(classes, text)
        if text:  # whose words are looked at on the way
            self.recordable = False
        if likelihood not in get_args(Likelihood):
            raise unknown_name("likelihood", likelihood, get_args(Likelihood))
        if output not in get_args(Output):
            raise unknown_name("output", output, get_args(Output))
        _refuse_negative(beta=beta, free_nats=free_nats, capacity=capacity or 0.0)
        _refuse_negative(total_correlation=total_correlation)
        _refuse_negative(capacity_steps=capacity_steps, kl_warmup_steps=kl_warmup_steps)
        if sigma < MIN_SIGMA:
            raise UsageError(
                f"sigma must be at least {MIN_SIGMA:.4f} (half a grey level), found {sigma}"
            )
        if likelihood == "bernoulli" and output != "sigmoid":
            raise UsageError(
                "likelihood bernoulli reads the decoder's output as logits; set output sigmoid"
            )
        check_conditional_options(contrast, 0.0)
        if text and not contrast:
            raise UsageError("text needs a contrast above 0, by which images are told apart")
        if capacity is not None and free_nats:
            raise UsageError("capacity and free_nats both set how much KL is free; choose one")
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.latent, self.beta, self.free_nats = latent, beta, free_nats
        self.capacity, self.capacity_steps = capacity, capacity_steps
        self.kl_warmup_steps, self.total_correlation = kl_warmup_steps, total_correlation
        self.damage = None if corruption is None else Damage(corruption)
        self.likelihood: Likelihood = likelihood
        self.output: Output = output
        log_sigma = math.log(math.sqrt(0.5) if likelihood == "squared_error" else sigma)
        self.log_sigma = nn.Parameter(torch.tensor(log_sigma), likelihood == "learned_sigma")
        self.contrast, self.text = contrast, text
        compared = self.condition.outputs if text else 0
        self.encoder = nets.encoder(shape, 2 * latent + compared, **options)
        self.decoder = nets.decoder(shape, latent + self.condition.size, **options)

    def players(self) -> dict[str, list[nn.Module]]:
        """One player trains everything."""
        return {"vae": [self]}

    def losses(self, x: Tensor, step: int | None = None, condition: Tensor | None = None) -> Losses:
        """The player's loss in nats; per example, of one posterior sample: squared error, −ELBO, …

        `sampled_squared_error` is larger than the squared error of `reconstruct`, which decodes the
        posterior's mean.
        """
        vector, outputs = self.condition(condition), self.encoder(self._seen(x)).float()
        losses = self._losses_at(self._posterior_in(outputs), x, step, vector)
        if not self.text:
            return losses
        found = self.condition.told_apart(outputs, vector, condition)
        loss = losses.players["vae"] + self.contrast * found.mean()
        return Losses({"vae": loss}, {**losses.terms, "text_contrast_nats": found})

    def phase(self, step: int) -> Hashable | None:
        """Always the same once all schedules are at their end; see `Model.phase`."""
        if self.damage is not None:  # which is made on the processor
            return None
        schedules = [self.kl_warmup_steps, self.capacity_steps if self.capacity else 0]
        return "schedules done" if step >= max(schedules) else None

    def _losses_at(
        self,
        posterior: tuple[Tensor, Tensor],
        x: Tensor,
        step: int | None,
        condition: Tensor | None,
    ) -> Losses:
        """The losses of images with these posteriors."""
        mu, logvar = posterior
        z = self._draw(mu, logvar)
        raw = self._decode_raw(z, condition)
        kl = kl_standard_normal(mu, logvar)
        error = squared_error(x, self._bound(raw))
        nll = self._nll(x, raw, error)
        constant = self._constant(x) if self.likelihood == "squared_error" else 0.0
        terms = {
            "sampled_squared_error": error.detach(),
            "reconstruction_nats": nll,
            "kl_nats": kl.sum(1),
            "negative_elbo_nats": nll + kl.sum(1),
        }
        loss = nll.mean() - constant + self._regulariser(kl, step)
        if self.total_correlation != 1:
            correlation = total_correlation(z, mu, logvar)
            terms["total_correlation_nats"] = correlation
            weight = (self.total_correlation - 1) * _progress(step, self.kl_warmup_steps)
            loss = loss + self.beta * weight * correlation.mean()
        return Losses({"vae": loss}, terms)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each float32 `[b, latent]`."""
        return self._posterior_in(self.encoder(x).float())

    def _posterior_in(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance among the encoder's outputs, before what is compared with texts."""
        mu, logvar = outputs[:, : 2 * self.latent].chunk(2, 1)
        return mu, logvar

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of q(z|x), float32 `[b, latent]`."""
        return self.posterior(x)[0]

    def likeness(self, x: Tensor, condition: Tensor) -> Tensor:
        """Cosines of images and texts, where the model takes these: float32 `[images, texts]`."""
        return self.condition.likeness(self.encoder(x), condition)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Mean image of p(x|z), clipped to [0, 1]: float32 `[b, c, h, w]`."""
        return self._bound(self._decode_raw(z, condition)).clamp(0, 1)

    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The image decoded from the posterior's mean: float32 `[b, c, h, w]` in [0, 1]."""
        return self.decode(self.posterior_mean(x), condition)

    def kl(self, x: Tensor) -> Tensor:
        """KL(q(z|x) ‖ p(z)) in nats, one value per latent: float32 `[b, latent]`."""
        return kl_standard_normal(*self.posterior(x))

    def elbo(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        posterior: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Evidence lower bound on log p(x) in nats, mean over posterior samples: float32 `[b]`.

        A true bound whatever β, capacity and free bits are; not normalised for `bernoulli` on
        grey pixels.

        Args:
            x: float `[b, c, h, w]`.
            condition: int64 `[b]` where the model is conditional.
            noise: float `[draws, latent]`, standard normal, shared by all images, which makes the
                bound deterministic; default: one draw for each image.
            posterior: mean and log-variance to take instead of the encoder's.
        """
        mu, logvar = self.posterior(x) if posterior is None else posterior
        draws = [None] if noise is None else list(noise)
        nll = [self._nll(x, self._decode_raw(self._draw(mu, logvar, n), condition)) for n in draws]
        return -torch.stack(nll).mean(0) - kl_standard_normal(mu, logvar).sum(1)

    def log_likelihood(
        self,
        x: Tensor,
        samples: int,
        condition: Tensor | None = None,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Importance-weighted bound on log p(x) in nats with `samples` draws: float32 `[b]`.

        Grows with `samples` towards log p(x); with one draw it estimates the ELBO. `noise` is
        float `[samples, latent]`, standard normal, shared by all images; default: drawn for each.

        Source: Burda et al. 2016, equation 8.
        """
        mu, logvar = self.posterior(x)
        weights: list[Tensor] = []
        for index in range(samples):
            z = self._draw(mu, logvar, None if noise is None else noise[index])
            ratio = normal_log_density(z, 0.0, 0.0) - normal_log_density(z, mu, logvar)
            weights.append(ratio - self._nll(x, self._decode_raw(z, condition)))
        return torch.logsumexp(torch.stack(weights), 0) - math.log(samples)

    def _draw(self, mu: Tensor, logvar: Tensor, noise: Tensor | None = None) -> Tensor:
        noise = torch.randn_like(mu) if noise is None else noise
        return mu + noise * torch.exp(0.5 * logvar)

    def _decode_raw(self, z: Tensor, condition: Tensor | None) -> Tensor:
        return self.decoder(self.condition.append(z, condition)).float()

    def _bound(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(raw) if self.output == "sigmoid" else nn.functional.leaky_relu(raw)

    def _nll(self, x: Tensor, raw: Tensor, error: Tensor | None = None) -> Tensor:
        """−log p(x|z) in nats with all constants, `[b]`; the squared error may be known already."""
        if self.likelihood == "bernoulli":
            return bernoulli_nll(x, raw)
        error = squared_error(x, self._bound(raw)) if error is None else error
        log_sigma = _floored(self.log_sigma, math.log(MIN_SIGMA))
        return gaussian_nll(error, x[0].numel(), log_sigma)

    def _constant(self, x: Tensor) -> float:
        """What the Gaussian of σ = √½ adds to the sum of squares: ½ log π per pixel."""
        return 0.5 * math.log(math.pi) * x[0].numel()

    def _regulariser(self, kl: Tensor, step: int | None) -> Tensor:
        """The KL term of the loss, a scalar in nats, from the KL `[b, latent]`."""
        per_latent = kl.mean(0)
        total = per_latent.clamp(min=self.free_nats).sum() if self.free_nats else per_latent.sum()
        if self.capacity is not None:
            total = (total - self.capacity * _progress(step, self.capacity_steps)).abs()
        return self.beta * _progress(step, self.kl_warmup_steps) * total


def _floored(value: Tensor, floor: float) -> Tensor:
    """The value, at least `floor`; from below it descending a loss leads back up, never down.

    A clamp has no gradient below its floor, so that a σ which one step too many has put there would
    stay there whatever the errors become.
    """
    if not value.requires_grad:
        return value.clamp(min=floor)
    lifted = value + (value.clamp(min=floor) - value).detach()
    below = value.detach() < floor

    def upwards(gradient: Tensor) -> Tensor:
        return torch.where(below, gradient.clamp(max=0), gradient)

    if lifted.requires_grad:
        lifted.register_hook(upwards)
    return lifted


def _progress(step: int | None, steps: int) -> float:
    """Share of a schedule that is done: 0 at its start, 1 from its end on."""
    return 1.0 if step is None or steps <= 0 else min(1.0, step / steps)


def _refuse_negative(**values: float) -> None:
    for name, value in values.items():
        if value < 0:
            raise UsageError(f"{name} must not be negative, found {value}")
