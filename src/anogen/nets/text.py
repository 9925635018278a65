"""A small recurrent net that makes a vector of a text's tokens."""

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from anogen.errors import UsageError
from anogen.nets.condition import Condition

MOST_TOKENS = 64
"""That a text may have."""
PIECE = 7
"""Bytes of a word that a token holds, beside one that says whether the word begins with it."""
WIDTH = 128
"""Of a word's vector."""
LETTER = 64
"""Of a letter's."""
ROWS = 2048
"""Of each of the two parts of the table of words, a power of two."""
MIXER = 0x2545F4914F6CDD1D
"""Odd, by which a token is multiplied so that its hash depends on all of its bytes."""
FIT = 4.0
"""What a discriminator's logit gains where a picture fits its text perfectly."""
SHARPNESS = 16.0
"""What the cosine of a picture and a text is multiplied with where they are told apart."""


class TextCondition(Condition):
    """A text, as tokens int64 `[b, length]` (see `anogen.data.text`), as a vector of length `size`.

    Two recurrent nets read the words, one from the first on and one from the last; the vector is
    made of the largest and of the mean value that each of their outputs takes. What order and
    neighbourhood mean is learnt in a tenth of the steps that layers of attention need. An empty
    text gives a vector of its own, which in training stands for any text.

    A net that looks at pictures gives `outputs` numbers for each: how real it seems by itself, a
    vector to be compared with a text's, and one to be compared with the words that it may show.

    Args:
        size: of the vector.

    Source: Cho et al. 2014; Conneau et al. 2017 for the largest value.

    Examples:
        >>> from anogen.data.text import tokens_of
        >>> TextCondition(16)(torch.from_numpy(tokens_of(["a red seven", ""]))).shape
        torch.Size([2, 16])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.words, self.named = Words(), Words()
        self.onwards = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.backwards = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(4 * WIDTH), nn.Linear(4 * WIDTH, size))

    @property
    def outputs(self) -> int:
        """One number, and two vectors."""
        return 1 + self.size + WIDTH

    def encoded(self, condition: Tensor | None) -> Tensor:
        """float32 `[b, size]` of tokens `[b, length]`, of mean square 1; computed in float32."""
        if condition is None:
            raise UsageError("this model takes texts; give one for each image, or empty ones")
        if condition.ndim != 2 or condition.shape[1] > MOST_TOKENS:
            raise UsageError(
                f"texts are tokens [b, length], length at most {MOST_TOKENS}, found "
                f"{list(condition.shape)}; see anogen.data.text.tokens_of"
            )
        with torch.autocast(condition.device.type, enabled=False):
            return self.size**0.5 * F.normalize(self.head(self._read(condition)), dim=1)

    def _read(self, tokens: Tensor) -> Tensor:
        """float32 `[b, 4 * WIDTH]`."""
        tokens = tokens[:, : max(1, int((tokens != 0).any(0).sum()))]
        different, place = tokens.unique(return_inverse=True)
        words = self.words(different)[place]
        there, lengths = (tokens != 0)[..., None], (tokens != 0).sum(1, keepdim=True)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        from_last = (lengths - 1 - places).clamp(min=0)[..., None].expand_as(words)
        read = torch.cat([self.onwards(words)[0], self.backwards(words.gather(1, from_last))[0]], 2)
        largest = read.masked_fill(~there, -1).amax(1)  # what a recurrent net gives is above −1
        mean = (read * there).sum(1) / lengths.clamp(min=1)
        return torch.cat([largest * (lengths > 0), mean], 1)

    def random(self, count: int, generator: Generator | None) -> Tensor:  # noqa: ARG002
        """Empty texts, which stand for any: int64 `[count, 1]`."""
        return torch.zeros(count, 1, dtype=torch.int64)

    def guided(self, condition: Tensor | None, strength: float) -> Tensor:
        """From the vector of an empty text towards that of the text, and beyond where it is > 1."""
        vector = self(condition)
        assert vector is not None
        empty = self.encoded(torch.zeros(1, 1, dtype=torch.int64, device=vector.device))
        return empty + strength * (vector - empty)

    def others(self, given: Tensor) -> Tensor:
        """Whether the text before each is another one, and not empty: bool `[b]`."""
        before = given.roll(1, 0)
        return (before != given).any(1) & (before != 0).any(1)

    def logit(self, outputs: Tensor, condition: Tensor | None) -> Tensor:
        """How real a picture seems, and how well it fits its text, as one logit: float32 `[b]`."""
        vector = self(condition)
        assert vector is not None
        fit = F.cosine_similarity(outputs[:, 1 : 1 + self.size].float(), vector)
        return outputs[:, 0].float() + FIT * fit

    def told_apart(self, outputs: Tensor, condition: Tensor | None, of: Tensor | None) -> Tensor:
        """See `told_apart` and `words_missed` below, whose sum this is: float32 `[b]`."""
        assert of is not None
        seen = outputs[:, -WIDTH:].float()
        return told_apart(self.likeness(outputs, condition), of) + words_missed(
            seen, of, self.named
        )

    def likeness(self, outputs: Tensor, condition: Tensor | None) -> Tensor:
        """Cosines of the vectors of pictures and of texts, float32 `[pictures, texts]`."""
        vector = self(condition)
        assert vector is not None
        seen = outputs[:, -WIDTH - self.size : -WIDTH].float()
        return F.normalize(seen, dim=1) @ F.normalize(vector, dim=1).T


class Words(nn.Module):
    """Tokens to vectors: by what each is as a whole, and by how it is written.

    The first is a sum of two rows of a table, at places that are hashes of the token (Serrà &
    Karatzoglou 2017); rows begin at 0, so that a word which was never seen is known by its letters
    alone.

    Examples:
        >>> Words()(torch.tensor([[5, 6]])).shape
        torch.Size([1, 2, 128])
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2 * ROWS, WIDTH)
        nn.init.zeros_(self.table.weight)
        self.letters = nn.Embedding(256 * (PIECE + 1), LETTER)
        self.spelling = nn.Sequential(nn.LayerNorm(LETTER), nn.Linear(LETTER, WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 `[...]` → float `[..., WIDTH]`."""
        mixed = tokens * MIXER
        mixed = mixed ^ (mixed >> 29)
        rows = torch.stack([mixed & (ROWS - 1), (mixed >> 32 & (ROWS - 1)) + ROWS], -1)
        each = torch.arange(PIECE + 1, device=tokens.device)
        letters = (tokens[..., None] >> 8 * each & 255) + 256 * each
        spelling = self.spelling(self.letters(letters).sum(-2))
        return self.table(rows).sum(-2) + torch.tanh(spelling)


def words_missed(seen: Tensor, tokens: Tensor, named: Words) -> Tensor:
    """How badly pictures tell which words their texts have, in nats: float32 `[b]`.

    The cross-entropy of the words of a picture's text among all words of the batch, those the more
    that fewer texts of the batch have: log(texts / texts that have it), so that what all have does
    not count. Where n words count alike it is log n at least; for an empty text it is 0.

    Texts that differ in a single word are told apart by nearly everything else in a batch; this
    makes every word count.

    Args:
        seen: float `[b, WIDTH]`, what was seen in pictures.
        tokens: of their texts, int64 `[b, length]`.
        named: the vectors of words that it is compared with.

    Examples:
        >>> words_missed(torch.zeros(2, WIDTH), torch.tensor([[5, 6], [5, 0]]), Words()).detach()
        tensor([0.6931, 0.0000])
    """
    different, place = tokens.unique(return_inverse=True)
    has = torch.zeros(len(tokens), len(different), device=seen.device)
    has = has.scatter(1, place, 1.0) * (different != 0)
    has = has * (len(tokens) / has.sum(0).clamp(min=1)).log()
    scores = (seen @ named(different).T / math.sqrt(WIDTH)).masked_fill(different == 0, -1e4)
    return (-F.log_softmax(scores, 1) * has).sum(1) / has.sum(1).clamp(min=1e-6)


def told_apart(likeness: Tensor, condition: Tensor) -> Tensor:
    """How badly pictures and texts of a batch find each other, in nats: float32 `[b]`.

    The mean of two cross-entropies: of the text of a picture among all texts, and of the picture of
    a text. Those with the same text are no mistakes. An empty text belongs to no picture in
    particular: it is left out, and gives 0.

    Args:
        likeness: cosines `[b, b]` of pictures (rows) and texts (columns).
        condition: the texts' tokens, int64 `[b, length]`.

    Source: Radford et al. 2021, section 2.3 and figure 3.

    Examples:
        >>> told_apart(torch.eye(2), torch.tensor([[1], [2]])) < 1e-6
        tensor([True, True])
    """
    empty = (condition == 0).all(1)
    no_rival = (condition[:, None] == condition[None]).all(2) | empty | empty[:, None]
    no_rival = no_rival & ~torch.eye(len(condition), dtype=torch.bool, device=condition.device)
    scores = (SHARPNESS * likeness).masked_fill(no_rival, -math.inf)
    right = torch.arange(len(scores), device=scores.device)
    by_picture = F.cross_entropy(scores, right, reduction="none")
    return 0.5 * (by_picture + F.cross_entropy(scores.T, right, reduction="none"))
