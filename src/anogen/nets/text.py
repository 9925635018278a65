"""A small transformer that makes a vector of a text's tokens."""

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from anogen.errors import UsageError
from anogen.nets.condition import Condition

PLACES = 64
"""Tokens that a text may have."""
PIECE = 7
"""Bytes of a word that a token holds, beside one that says whether the word begins with it."""
WIDTH = 128
HEADS = 4
SHARPNESS = 16.0
"""What the cosine of a picture and a text is multiplied with where they are told apart."""


class TextCondition(Condition):
    """A text, as tokens int64 `[b, length]` (see `anogen.data.text`), as a vector of length `size`.

    A token is embedded by its bytes, each by where it stands; two layers of attention follow, and
    the vector is read off a token that is put before all others. An empty text gives the vector of
    that token alone, which in training stands for any text.

    A discriminator of pictures with texts has `outputs` numbers for each picture: how real it seems
    by itself, and a vector to be compared with a text's.

    Args:
        size: of the vector.
        layers: of attention.

    Source: Vaswani et al. 2017; Kim et al. 2016 for words by their characters.

    Examples:
        >>> from anogen.data.text import tokens_of
        >>> TextCondition(16)(torch.from_numpy(tokens_of(["a red seven", ""]))).shape
        torch.Size([2, 16])
    """

    def __init__(self, size: int, layers: int = 2) -> None:
        super().__init__()
        self.size = size
        self.bytes = nn.Embedding(256 * (PIECE + 1), WIDTH)
        self.word = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.places = nn.Parameter(0.1 * torch.randn(1 + PLACES, WIDTH))
        self.layers = nn.ModuleList(_Attention() for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, size))

    @property
    def outputs(self) -> int:
        """One number, and a vector."""
        return 1 + self.size

    def encoded(self, condition: Tensor | None) -> Tensor:
        """float32 `[b, size]` of tokens `[b, length]`."""
        if condition is None:
            raise UsageError("this model takes texts; give one for each image, or empty ones")
        if condition.ndim != 2 or condition.shape[1] > PLACES:
            raise UsageError(
                f"texts are tokens [b, length], length at most {PLACES}, found "
                f"{list(condition.shape)}; see anogen.data.text.tokens_of"
            )
        each = torch.arange(PIECE + 1, device=condition.device)
        letters = (condition[..., None] >> 8 * each & 255) + 256 * each
        words = self.word(self.bytes(letters).sum(2))
        there = F.pad(condition != 0, (1, 0), value=True)
        x = F.pad(words, (0, 0, 1, 0)) + self.places[: there.shape[1]]
        for layer in self.layers:
            x = layer(x, there)
        return self.head(x[:, 0]).float()

    def random(self, count: int, generator: Generator | None) -> Tensor:  # noqa: ARG002
        """Empty texts, which stand for any: int64 `[count, 1]`."""
        return torch.zeros(count, 1, dtype=torch.int64)

    def guided(self, condition: Tensor | None, strength: float) -> Tensor:
        """From the vector of an empty text towards that of the text, and beyond where it is > 1."""
        vector = self(condition)
        assert vector is not None
        empty = self.encoded(torch.zeros(1, 1, dtype=torch.int64, device=vector.device))
        return empty + strength * (vector - empty)

    def logit(self, outputs: Tensor, condition: Tensor | None) -> Tensor:
        """How real a picture seems, and how well it fits its text, as one logit: float32 `[b]`."""
        vector = self(condition)
        assert vector is not None
        fit = (outputs[:, 1:].float() * vector).sum(1) / math.sqrt(self.size)
        return outputs[:, 0].float() + fit

    def told_apart(self, outputs: Tensor, condition: Tensor | None, of: Tensor | None) -> Tensor:
        """See `told_apart` below: float32 `[b]`."""
        assert of is not None
        return told_apart(self.likeness(outputs, condition), of)

    def likeness(self, outputs: Tensor, condition: Tensor | None) -> Tensor:
        """Cosines of pictures' vectors, which are their last outputs, and texts' vectors.

        float32 `[pictures, texts]`.
        """
        vector = self(condition)
        assert vector is not None
        return F.normalize(outputs[:, -self.size :].float(), dim=1) @ F.normalize(vector, dim=1).T


class _Attention(nn.Module):
    """One layer: every word looks at all words, then thinks by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.into, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.alone = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """float `[b, n, WIDTH]`, bool `[b, n]` → float `[b, n, WIDTH]`."""
        parts = self.into(self.before(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*parts, attn_mask=there[:, None, None])
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.alone(self.between(x))


def told_apart(likeness: Tensor, condition: Tensor) -> Tensor:
    """How badly pictures and texts of a batch find each other, in nats: float32 `[b]`.

    The mean of two cross-entropies: of the text of a picture among all texts, and of the picture of
    a text. Those with the same text are no mistakes.

    Args:
        likeness: cosines `[b, b]` of pictures (rows) and texts (columns).
        condition: the texts' tokens, int64 `[b, length]`.

    Source: Radford et al. 2021, section 2.3 and figure 3.

    Examples:
        >>> told_apart(torch.eye(2), torch.tensor([[1], [2]])) < 1e-6
        tensor([True, True])
    """
    same = (condition[:, None] == condition[None]).all(2)
    same = same & ~torch.eye(len(condition), dtype=torch.bool, device=condition.device)
    scores = (SHARPNESS * likeness).masked_fill(same, -math.inf)
    right = torch.arange(len(scores), device=scores.device)
    by_picture = F.cross_entropy(scores, right, reduction="none")
    return 0.5 * (by_picture + F.cross_entropy(scores.T, right, reduction="none"))
