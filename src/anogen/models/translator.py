"""A VAE-GAN whose codes are shared by domains: an image of one becomes that of another."""

from collections.abc import Hashable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from anogen import nets
from anogen.errors import UsageError, unknown_name
from anogen.models.adversarial import (
    ADVERSARIAL,
    RELATIVE,
    Adversarial,
    check_adversarial_options,
    discriminator_penalty,
    generator_rests,
    logit_terms,
)
from anogen.models.base import GenerativeModel, Losses
from anogen.models.terms import kl_standard_normal
from anogen.nets import Shape
from anogen.nets.condition import condition_on
from anogen.nets.options import check_count
from anogen.nets.translation import (
    PatchDiscriminator,
    TranslationDecoder,
    TranslationEncoder,
    code_size,
)

Judge = Literal["patches", "image"]
TWO_DOMAINS = 2


class Translator(GenerativeModel):
    """Images of one domain as another would have them: one encoder, and a decoder told the domain.

    The encoder maps an image x of any domain to a map of codes, q(z|x), a Gaussian for each; the
    decoder makes of a code the image of a domain; a discriminator judges whether an image is a real
    one of its domain. With x of domain d, z drawn from q(z|x), another domain e drawn at random,
    and y the image of z in e, from one forward pass:

    - the translator, encoder and decoder together, minimises `identity` · |x − image of z in d|
      + `cycle` · |x − image of y's code in d| + `paired` · |x's partner in e − y|
      + `beta` · KL(q(z|x) ‖ N(0, 1)) + `adversarial` · the adversarial loss on y;
    - the discriminator minimises the adversarial loss on x and y.

    |·| is the absolute error averaged over pixels, plus `feature` · the squared error in the
    features of the discriminator, averaged over them; KL is averaged over the values of the code.

    Known methods are settings of it: the default follows UNIT (a shared Gaussian code, identity
    and cycle terms); `beta` 0 makes codes deterministic, which with `loss` `least_squares` is
    CycleGAN, and with `identity` 0 StarGAN. With pairs, `paired` and no `cycle` it is pix2pix.
    Their nets and details differ.

    Args:
        shape: channels, height and width of the images.
        code: length of a code; there is one for every 4×4 pixels, with `levels` 2.
        classes: domains, two or more; default: on the command line as many as the data has labels,
            in Python 2.
        identity: weight of the error of an image in its own domain.
        cycle: weight of the error of an image translated and back.
        paired: weight of the error against the same thing in the other domain, where the data
            names pairs.
        feature: weight of errors in the discriminator's features beside those of pixels.
        beta: weight of the KL term; 0: codes are their means, and nothing is drawn.
        adversarial: weight of the adversarial loss.
        judge: what the discriminator sees: `patches`, so that it judges strokes and textures alone,
            or the whole `image`, so that it also judges what is shown, and how often.
        loss: `non_saturating`, `saturating`, `hinge` or `least_squares`.
        r1: as in `GAN`; of patches, as if each were an image of its own.
        penalty_every: as in `GAN`.
        critic_steps: as in `GAN`.
        width: channels of encoder and decoder at full size, a multiple of 4.
        levels: how often the image is halved on the way to its codes.
        blocks: of encoder and of decoder at the smallest size.

    Raises:
        UsageError: fewer than two domains, or options that contradict one another or cannot be
            built.

    Source: Liu et al. 2017 (UNIT); Zhu et al. 2017 (CycleGAN); Choi et al. 2018 (StarGAN); Isola et
    al. 2017 (pix2pix); Larsen et al. 2016 for the family; the paper, section 5.

    Examples:
        >>> import torch
        >>> model = Translator((1, 28, 28), width=4)
        >>> x, domain = torch.rand(4, 1, 28, 28), torch.tensor([0, 0, 1, 1])
        >>> sorted(model.losses(x, step=0, condition=domain).players)
        ['discriminator', 'translator']
        >>> model.translate(x, 1 - domain).shape
        torch.Size([4, 1, 28, 28])
    """

    monitor = None
    recordable = True

    def __init__(
        self,
        shape: Shape,
        code: int = 8,
        *,
        classes: int | None = None,
        identity: float = 10.0,
        cycle: float = 10.0,
        paired: float = 10.0,
        feature: float = 0.0,
        beta: float = 0.003,
        adversarial: float = 1.0,
        judge: Judge = "patches",
        loss: Adversarial = "non_saturating",
        r1: float = 0.03,
        penalty_every: int = 8,
        critic_steps: int = 1,
        width: int = 16,
        levels: int = 2,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        domains = TWO_DOMAINS if classes is None else classes
        if domains < TWO_DOMAINS:
            raise UsageError(f"a Translator needs two domains or more, found classes {domains}")
        check_count("code", code)
        if min(identity, cycle, paired, feature, beta, adversarial) < 0:
            raise UsageError(
                "identity, cycle, paired, feature, beta and adversarial must not be negative"
            )
        if loss in RELATIVE:
            raise UsageError(
                f"a Translator has no loss {loss}, which compares images of one domain; choose "
                "non_saturating, saturating, hinge or least_squares"
            )
        check_adversarial_options(
            loss, r1=r1, r2=0.0, penalty_every=penalty_every, critic_steps=critic_steps,
            batch_norm=False,
        )  # fmt: skip
        if judge not in get_args(Judge):
            raise unknown_name("judge", str(judge), get_args(Judge))
        self.condition = condition_on(domains)
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.identity, self.cycle, self.paired, self.feature = identity, cycle, paired, feature
        self.beta, self.adversarial = beta, adversarial
        self.loss: Adversarial = loss
        self.r1, self.penalty_every, self.critic_steps = r1, penalty_every, critic_steps
        self.encoder = TranslationEncoder(shape[0], code, width=width, levels=levels, blocks=blocks)
        self.decoder = TranslationDecoder(
            shape[0], code, domains, width=width, levels=levels, blocks=blocks
        )
        self.discriminator = (
            PatchDiscriminator(shape[0], domains)
            if judge == "patches"
            else nets.encoder(shape, domains, batch_norm=False)
        )
        self.code_shape = (code, *code_size(shape, levels))
        self.latent = self.code_shape[0] * self.code_shape[1] * self.code_shape[2]

    def players(self) -> dict[str, list[nn.Module]]:
        """Encoder and decoder together, and the discriminator."""
        return {
            "translator": [self.encoder, self.decoder],
            "discriminator": [self.discriminator],
        }

    def losses(self, x: Tensor, step: int | None = None, condition: Tensor | None = None) -> Losses:
        """Both losses; per example: absolute errors per pixel, KL in nats, logits.

        The error against partners is 0 where there is none, and the others count as much more, so
        that its mean is that of pairs.

        Args:
            x: float `[b, c, h, w]` in [0, 1].
            step: as of every model.
            condition: domains, int64 `[b]`; or of data with pairs `[b, 2]`, the number of what is
                shown beside each.
        """
        domain, other = self._domains(condition)
        mu, logvar = self.posterior(x)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar) if self.beta else mu
        kl = kl_standard_normal(mu, logvar)
        own, y = self.decode(torch.cat([z, z]), torch.cat([domain, other])).chunk(2)
        terms: dict[str, Tensor] = {"kl_nats": kl.sum(1)}
        total = self.beta * kl.mean() if self.beta else kl.new_zeros(())

        features, logits = self._judge(torch.cat([x, y]), torch.cat([domain, other]))
        of_x, of_y = features.chunk(2)
        real, fake = (logit.reshape(len(x), -1) for logit in logits.chunk(2))
        errors: dict[str, Tensor] = {}
        if self.identity:
            errors["identity"] = self._error(x, own, of_x, domain)
        if self.cycle:
            back = self.decode(self.posterior_mean(y), domain)
            errors["cycle"] = self._error(x, back, of_x, domain)
        if self.paired and condition is not None and condition.ndim > 1:
            place, known = partners(condition, other)
            share = known.mean().clamp(min=1 / len(known))
            errors["paired"] = self._against(x[place], y, of_x[place], of_y) * known / share
        weights = {"identity": self.identity, "cycle": self.cycle, "paired": self.paired}
        for name, error in errors.items():
            total = total + weights[name] * error.mean()
            terms[f"{name}_error"] = error

        kind = ADVERSARIAL[self.loss]
        verdict = kind.discriminator(real, fake).mean()
        if step is not None and step % self.penalty_every == 0:
            verdict = verdict + self.penalty_every * discriminator_penalty(
                lambda image: self._for_penalty(image, domain), x, y, self.loss, r1=self.r1
            )
        players = {"discriminator": verdict}
        if not generator_rests(step, self.critic_steps):
            fool = self.adversarial * kind.generator(real, fake).mean()
            players = {"translator": total + fool, **players}
        return Losses(players, terms | logit_terms(real.mean(1), fake.mean(1), self.loss))

    def phase(self, step: int) -> Hashable | None:
        """With penalties or without, who rests; see `Model.phase`."""
        return step % self.penalty_every == 0, generator_rests(step, self.critic_steps)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each float32 `[b, latent]`."""
        mean, log_variance = self.encoder(x)
        return mean.flatten(1), log_variance.flatten(1)

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Mean of q(z|x), float32 `[b, latent]`."""
        return self.posterior(x)[0]

    def kl(self, x: Tensor) -> Tensor:
        """KL(q(z|x) ‖ p(z)) in nats, one value per latent: float32 `[b, latent]`."""
        return kl_standard_normal(*self.posterior(x))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The image of codes `[b, latent]` in a domain: float32 `[b, c, h, w]` in [0, 1]."""
        vector = self.condition(condition)
        assert vector is not None
        images = self.decoder(z.unflatten(1, self.code_shape), vector)
        return torch.sigmoid(images[..., : self.shape[1], : self.shape[2]])

    def reconstruct(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The image decoded from the posterior's mean: float32 `[b, c, h, w]` in [0, 1]."""
        return self.decode(self.posterior_mean(x), condition)

    def translate(self, x: Tensor, condition: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images as another domain has them: float32 `[b, c, h, w]` in [0, 1].

        Args:
            x: float `[b, c, h, w]` in [0, 1], of any domain.
            condition: the domains that they are to become, int64 `[b]`.
            noise: standard normal, float `[b, latent]`, where a code is to be drawn from the
                posterior; default: its mean.
        """
        mu, logvar = self.posterior(x)
        z = mu if noise is None else mu + noise * torch.exp(0.5 * logvar)
        return self.decode(z, condition)

    def logit(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """How real an image of its domain an image seems, as a logit, mean over patches: `[b]`."""
        return self._logits(x, condition).mean(1)

    def _logits(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Those of all patches, or the one of the image, `[b, patches]`."""
        return self.condition.logit(self.discriminator(x), condition).reshape(len(x), -1)

    def _for_penalty(self, x: Tensor, condition: Tensor) -> Tensor:
        """What R1 is of: the sum over n patches over √n, so that the penalty is about that of each
        patch by itself: `[b]`.
        """
        logits = self._logits(x, condition)
        return logits.sum(1) / logits.shape[1] ** 0.5

    def _domains(self, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """The domain of each image, and another one for each, int64 `[b]`."""
        self.condition(condition)  # refuses what is none
        assert condition is not None
        domain = condition[:, 0] if condition.ndim > 1 else condition
        away = torch.randint(1, self.classes, domain.shape, device=domain.device)
        return domain, (domain + away) % self.classes

    def _judge(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's last features, and its logits, `[b]` or of patches `[b, h, w]`."""
        features = self.discriminator.features(x)
        logits = self.discriminator.from_features(features)
        return features[-1], self.condition.logit(logits, condition)

    def _error(self, x: Tensor, y: Tensor, of_x: Tensor, condition: Tensor) -> Tensor:
        """|x − y| as the class defines it, `[b]`, with the features of y not yet known."""
        of_y = self._judge(y, condition)[0] if self.feature else of_x
        return self._against(x, y, of_x, of_y)

    def _against(self, x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
        error = (x - y).abs().flatten(1).mean(1)
        if not self.feature:
            return error
        return error + self.feature * (of_x - of_y).float().square().flatten(1).mean(1)


def partners(condition: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Where in a batch the same thing is shown by another domain.

    Args:
        condition: domain and number of the thing, int64 `[b, 2]`.
        other: the domain that is looked for, int64 `[b]`.

    Returns:
        Places, int64 `[b]`, and 1 where there is one, else 0, float32 `[b]`.

    Examples:
        >>> partners(torch.tensor([[0, 7], [1, 7], [0, 8]]), torch.tensor([1, 0, 1]))
        (tensor([1, 0, 0]), tensor([1., 1., 0.]))
    """
    domain, thing = condition.unbind(1)
    fits = (thing[:, None] == thing) & (domain == other[:, None])
    known, place = fits.float().max(1)
    return place, known
