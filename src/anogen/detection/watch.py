"""A watch over a stream of scores: whether it is still what the detector was calibrated for."""

import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, ks_2samp

from anogen.detection.calibration import Calibration, refuse_nan
from anogen.detection.drift import drifts
from anogen.detection.martingale import Martingale, Ranks
from anogen.errors import UsageError, finite_number

Values = NDArray[np.float64]

WINDOW = 500
"""Examples that are compared with the calibration at once."""
POINTS = 400
"""Of the history, an even number: when there are so many, pairs become one."""
BETTING, COMPARING, NAMING = 0.5, 0.25, 0.25
"""How the level is divided among the martingale, the windows and the statistics."""
MOST_ALARMS = 1000
"""That are remembered, the last ones."""
MOST_NAMED = 3
"""Statistics that an alarm of the martingale names."""
MOST_BYTES = 64 << 20
"""Of a state, unpacked."""


@dataclass(frozen=True)
class Alarm:
    """A sign that a stream has changed.

    Attributes:
        kind: `martingale`: bets against uniform p-values have won too much; `window`: the scores of
            the last 500 examples are not distributed as the calibration's; `statistic`: one of
            their statistics has moved.
        at: after so many examples of the stream.
        time: of the example after which it was raised, in seconds since 1970, or None.
        text: what has changed, in words.
    """

    kind: str
    at: int
    time: float | None
    text: str


@dataclass(frozen=True)
class Point:
    """The watch after some examples.

    Attributes:
        at: after so many.
        log10_capital: of the martingale, at its highest since the point before.
        flagged: share of the examples since the point before that were called out.
        time: of the last one, or None.
    """

    at: int
    log10_capital: float
    flagged: float
    time: float | None


@dataclass(frozen=True)
class Watch:
    """A watch over one stream, which is told of scores as they come; `after` gives its next state.

    Three tests share the level: a conformal test martingale, which is told of every example and may
    be looked at at any time; windows of 500 scores, compared with the calibration; and statistics
    of single examples in those windows. Where all examples are exchangeable with those of the
    calibration, an alarm is raised in the whole life of the stream with at most the probability
    `level`. After an alarm the martingale rests for 500 examples, and starts anew.

    Attributes:
        calibration: of the detector.
        level: the probability of a false alarm, at any time.
        rate: of false positives, at which examples are called out.
        statistics: name → values of calibration examples, for `drifts`; none: none are compared.
            Of new examples all of them are given, NaN where one is not known.
        ranks: of the scores since the martingale started.
        martingale: the bets.
        bets_from: after so many examples the martingale goes on: after an alarm it rests.
        highest: of the martingale's logarithm, since the last point.
        recent: scores of the window that is not yet full.
        recent_statistics: their statistics.
        seen: examples so far.
        called: of these, called out.
        recent_called: of those since the last point.
        history: points, from the first example on.
        every: examples between two points.
        alarms: the last thousand.

    Examples:
        >>> normal = np.random.default_rng(0).normal
        >>> watch = Watch.of(Calibration.of(normal(0, 1, 500)))
        >>> watch = watch.after(normal(0, 1, 1000))
        >>> watch.alarms
        ()
        >>> watch = watch.after(normal(2, 1, 300))
        >>> watch.alarms[0].kind, watch.alarms[0].at < 1050
        ('martingale', True)
    """

    calibration: Calibration
    level: float
    rate: float
    ranks: Ranks
    martingale: Martingale
    statistics: Mapping[str, Values] = field(default_factory=dict[str, Values])
    bets_from: int = 0
    highest: float = -math.inf
    recent: Values = field(default_factory=lambda: np.zeros(0))
    recent_statistics: Mapping[str, Values] = field(default_factory=dict[str, Values])
    seen: int = 0
    called: int = 0
    recent_called: int = 0
    history: tuple[Point, ...] = ()
    every: int = 50
    alarms: tuple[Alarm, ...] = ()

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        statistics: Mapping[str, Values] | None = None,
        level: float = 0.01,
        rate: float = 0.01,
    ) -> Self:
        """A watch that has seen nothing yet.

        Raises:
            UsageError: a level that is not between 0 and 1.
        """
        if not 0 < finite_number("level", level) < 1:
            raise UsageError(f"the level of a watch lies between 0 and 1, found {level}")
        return cls(calibration, level, rate, Ranks.of(calibration.scores), Martingale(),
                   statistics or {})  # fmt: skip

    def after(
        self,
        scores: Values,
        statistics: Mapping[str, Values] | None = None,
        times: Sequence[float] | None = None,
    ) -> Self:
        """The watch after more examples, in the order in which they came.

        It is the same however they are divided among calls.

        Args:
            scores: float64 `[n]`.
            statistics: name → float64 `[n]`, as `drift.example_statistics` gives them.
            times: when each came, in seconds since 1970.

        Raises:
            DataError: a score is NaN.
        """
        watch, start = self, 0
        while start < len(scores):
            stop = start + min(
                watch.every - watch.seen % watch.every, WINDOW - watch.seen % WINDOW
            )  # to the next point, or to the end of the window
            part = slice(start, stop)
            own = {name: values[part] for name, values in (statistics or {}).items()}
            watch = watch._few(
                refuse_nan(scores[part]), own, None if times is None else times[part]
            )
            start = stop
        return watch

    def _few(
        self, scores: Values, statistics: Mapping[str, Values], times: Sequence[float] | None
    ) -> Self:
        """After so few examples that they cross no point and no window's end."""
        joined = {
            name: np.concatenate([self.recent_statistics.get(name, np.zeros(0)), values])
            for name, values in statistics.items()
        }
        watch, alarms = self._bet(scores, joined, times)
        called = int(self.calibration.flags(scores, self.rate).sum())
        watch = replace(
            watch, recent=np.concatenate([watch.recent, scores]), recent_statistics=joined,
            seen=self.seen + len(scores), called=self.called + called,
            recent_called=self.recent_called + called,
        )  # fmt: skip
        last = times[-1] if times else None
        if watch.seen % WINDOW == 0:
            alarms += watch._compare(last)
            watch = replace(watch, recent=np.zeros(0), recent_statistics={})
        if watch.seen % watch.every == 0:
            watch = watch._noted(last)
        return replace(watch, alarms=(*watch.alarms, *alarms)[-MOST_ALARMS:])

    def _bet(
        self, scores: Values, statistics: Mapping[str, Values], times: Sequence[float] | None
    ) -> tuple[Self, list[Alarm]]:
        """The martingale after more scores; after an alarm it rests for a window, and starts anew.

        Args:
            scores: the new ones.
            statistics: of the window, up to the last of these.
            times: of the new ones.
        """
        rest = min(max(self.bets_from - self.seen, 0), len(scores))
        if rest == len(scores):
            return self, []
        p_values, further = self.ranks.after(scores[rest:])
        path = self.martingale.path(p_values)
        capitals = np.array([m.log_capital for m in path])
        over = np.flatnonzero(capitals >= -math.log(BETTING * self.level))
        if not len(over):
            highest = max(self.highest, float(capitals.max()))
            return replace(self, ranks=further, martingale=path[-1], highest=highest), []
        last = int(over[0])
        place = rest + last
        moved = [drift.text for drift in drifts(self.statistics, {
            name: values[: len(values) - len(scores) + place + 1]
            for name, values in statistics.items()
        })]  # fmt: skip
        alarm = Alarm(
            "martingale", self.seen + place + 1, None if times is None else times[place],
            f"the p-values are no longer uniform: {_shift(p_values[: last + 1])}; bets against "
            f"that have won {math.exp(min(capitals[last], 700)):,.0f} times their stake within "
            f"{path[last].seen:,} examples" + "".join(f"; {text}" for text in moved[:MOST_NAMED]),
        )  # fmt: skip
        return replace(
            self, ranks=Ranks.of(self.calibration.scores), martingale=Martingale(),
            highest=max(self.highest, float(capitals[last])), bets_from=alarm.at + WINDOW,
        ), [alarm]  # fmt: skip

    def _compare(self, time: float | None) -> list[Alarm]:
        """What the window that is now full says.

        Of the level each window gets less than the one before, so that all together get no more
        than there is.
        """
        number = self.seen // WINDOW
        share = 6 / (math.pi * number) ** 2
        alarms: list[Alarm] = []
        before, now = self.calibration.scores, self.recent
        test: Any = ks_2samp(before, now, method="asymp")
        p = float(test.pvalue)
        if p <= COMPARING * self.level * share:
            verb = "higher" if np.median(now) > np.median(before) else "lower"
            alarms.append(Alarm(
                "window", self.seen, time,
                f"the scores of the last {WINDOW} are distributed otherwise than at calibration, "
                f"mostly {verb} (p = {p:.1g})",
            ))  # fmt: skip
        found = drifts(self.statistics, self.recent_statistics, NAMING * self.level * share)
        alarms += [Alarm("statistic", self.seen, time, drift.text) for drift in found]
        return alarms

    def _noted(self, time: float | None) -> Self:
        capital = max(self.highest, self.martingale.log_capital) / math.log(10)
        point = Point(self.seen, capital, self.recent_called / self.every, time)
        history, every = (*self.history, point), self.every
        if len(history) == POINTS:
            pairs = zip(history[::2], history[1::2], strict=True)
            history = tuple(
                Point(late.at, max(early.log10_capital, late.log10_capital),
                      (early.flagged + late.flagged) / 2, late.time)
                for early, late in pairs
            )  # fmt: skip
            every *= 2
        return replace(self, history=history, every=every, highest=-math.inf, recent_called=0)

    def alarms_since(self, at: int) -> list[Alarm]:
        """Alarms that were raised after so many examples."""
        return [alarm for alarm in self.alarms if alarm.at > at]

    @property
    def summary(self) -> dict[str, Any]:
        """For people and JSON: what is seen, how much is called out, what has changed.

        `calling` has the share of all examples that were flagged with its 95 % interval (Clopper &
        Pearson 1934), and what was promised, with the interval in which the promise lies.
        """
        low, high = interval(self.called, self.seen)
        promised = self.calibration.false_positive_interval(self.rate)
        return {
            "seen": self.seen, "level": self.level,
            "calling": {
                "promised": self.rate, "promised_low": promised[0], "promised_high": promised[1],
                "share": self.called / self.seen if self.seen else None, "low": low, "high": high,
            },
            "log10_capital": self.martingale.log_capital / math.log(10),
            "log10_limit": -math.log10(BETTING * self.level),
            "alarms": [asdict(alarm) for alarm in self.alarms],
            "history": [asdict(point) for point in self.history],
        }  # fmt: skip

    def content(self) -> str:
        """The state of the watch as JSON, without calibration and statistics to compare with."""
        return json.dumps({
            "level": self.level, "rate": self.rate, "seen": self.seen, "called": self.called,
            "recent_called": self.recent_called, "every": self.every,
            "values": _packed(self.ranks.values), "counts": _packed(self.ranks.counts),
            "ranked": self.ranks.seen, "martingale": self.martingale.content,
            "highest": None if self.highest == -math.inf else self.highest,
            "bets_from": self.bets_from,
            "recent": self.recent.tolist(),
            "recent_statistics": {k: v.tolist() for k, v in self.recent_statistics.items()},
            "history": [asdict(point) for point in self.history],
            "alarms": [asdict(alarm) for alarm in self.alarms],
        })  # fmt: skip

    def restored(self, content: str) -> Self:
        """This watch in a state that `content` gave.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        kept = json.loads(content)
        ranks = Ranks(
            _unpacked(kept["values"], np.float64), _unpacked(kept["counts"], np.int64),
            kept["ranked"],
        )  # fmt: skip
        return replace(
            self, level=kept["level"], rate=kept["rate"], seen=kept["seen"],
            called=kept["called"], recent_called=kept["recent_called"], every=kept["every"],
            ranks=ranks, martingale=Martingale.of_content(kept["martingale"]),
            highest=-math.inf if kept["highest"] is None else kept["highest"],
            bets_from=kept["bets_from"],
            recent=np.array(kept["recent"], np.float64),
            recent_statistics={k: np.array(v) for k, v in kept["recent_statistics"].items()},
            history=tuple(Point(**point) for point in kept["history"]),
            alarms=tuple(Alarm(**alarm) for alarm in kept["alarms"]),
        )  # fmt: skip


def _packed(array: NDArray[Any]) -> str:
    return b64encode(zlib.compress(array.tobytes())).decode()


def _unpacked(text: str, kind: Any) -> NDArray[Any]:
    """What `_packed` made, which has at most `MOST_BYTES`.

    Raises:
        ValueError: it is damaged.
    """
    try:
        content = zlib.decompressobj().decompress(b64decode(text), MOST_BYTES)
    except zlib.error as error:
        raise ValueError("damaged numbers") from error
    return np.frombuffer(content, kind).copy()


def _shift(p_values: Values) -> str:
    """What kind of change recent p-values show.

    >>> _shift(np.full(100, 0.001)), _shift(np.full(100, 0.9)), _shift(np.linspace(0, 1, 101))
    ('many scores are far out', 'scores are lower than usual', 'their order has changed')
    """
    last = p_values[-200:]
    if (last <= 0.01).mean() > 0.02:
        return "many scores are far out"
    if last.mean() < 0.45:
        return "scores are higher than usual"
    return "scores are lower than usual" if last.mean() > 0.55 else "their order has changed"


def interval(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Where a share lies with this confidence, after `count` of so many.

    >>> tuple(round(end, 3) for end in interval(1, 100))
    (0.0, 0.054)

    Source: Clopper & Pearson 1934.
    """
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
    return low, high
