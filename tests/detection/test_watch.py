"""The watch over a stream: no false alarms, quick true ones, the same however it is fed."""

import json

import numpy as np
import pytest
from scipy.stats import kstest

from anogen.detection.calibration import Calibration
from anogen.detection.drift import drifts, example_statistics
from anogen.detection.martingale import FIRST, Martingale, Ranks, chance, gains, rounded
from anogen.detection.watch import POINTS, WINDOW, Watch, interval
from anogen.errors import DataError, UsageError


def scores(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10 + shift, 1, count)


def test_ranks_are_uniform_where_scores_are_exchangeable():
    p_values, ranks = Ranks.of(scores(0, 200)).after(scores(1, 20_000))
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert ranks.seen == 20_000
    assert ranks.counts.sum() == 20_200


def test_ranks_of_equal_scores_are_uniform_too():
    few = np.random.default_rng(0).integers(0, 3, 5_000).astype(float)
    p_values, _ = Ranks.of(few[:100]).after(few[100:])
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_ranks_by_counting():
    calibration, new = scores(0, 30), scores(1, 700)
    p_values, _ = Ranks.of(calibration).after(new)
    whole = rounded(np.concatenate([calibration, new]))
    for place in (0, 1, 511, 512, 699):
        before, own = whole[: 30 + place], whole[30 + place]
        larger, equal = (before > own).sum(), (before == own).sum()
        theta = chance(np.array([place]))[0]
        assert p_values[place] == pytest.approx((larger + theta * (equal + 1)) / (31 + place))


def test_memory_of_ranks_is_bounded():
    ranks = Ranks.of(scores(0, 100))
    for seed in range(10):
        _, ranks = ranks.after(scores(seed, 20_000))
    assert len(ranks.values) < 20_000


def test_chance_is_uniform_and_the_same_again():
    values = chance(np.arange(100_000))
    assert kstest(values, "uniform").pvalue > 0.01
    assert np.array_equal(values[500:600], chance(np.arange(500, 600)))


def test_gains_are_fair():
    fine = (np.arange(200_000) + 0.5) / 200_000
    assert np.allclose(gains(fine).mean(0), 1)
    assert (gains(fine) > 0).all()
    assert FIRST.sum() == pytest.approx(1)


def test_a_martingale_keeps_its_capital_where_nothing_changes():
    final = []
    for seed in range(300):
        p_values = np.random.default_rng(seed).random(2_000)
        path = Martingale().path(p_values)
        final.append(max(m.log_capital for m in path))
    assert (np.array(final) > np.log(20)).mean() <= 0.05


def test_a_martingale_by_hand():
    p_values = np.array([0.3, 0.004, 0.9])
    shares, capital = FIRST.copy(), 1.0
    for seen, each in enumerate(gains(p_values)):
        capital *= (shares * each).sum()
        shares = shares * each / (shares * each).sum()
        shares = (1 - 1 / (seen + 2)) * shares + FIRST / (seen + 2)
    after = Martingale().after(p_values)
    assert after.log_capital == pytest.approx(np.log(capital))
    assert np.allclose(after.shares, shares)
    assert (
        Martingale.of_content(json.loads(json.dumps(after.content))).after(p_values).log_capital
        == after.after(p_values).log_capital
    )


def watch_of(**options: object) -> Watch:
    return Watch.of(Calibration.of(scores(0, 400)), **options)


def test_few_false_alarms():
    alarmed = 0
    for seed in range(40):
        calm = Watch.of(Calibration.of(scores(1000 + seed, 300)), level=0.1)
        alarmed += bool(calm.after(scores(seed, 3_000)).alarms)
    assert alarmed <= 8  # 4 are allowed in the mean


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_contamination_is_found(share):
    found = []
    for seed in range(8):
        generator = np.random.default_rng(seed)
        stream = scores(seed, 4_000)
        stream[2_000:][generator.random(2_000) < share] += 8
        watch = watch_of().after(stream)
        assert [a for a in watch.alarms if a.at <= 2_000] == []
        found.append(watch.alarms[0].at - 2_000)
    assert np.median(found) < (300 if share == 0.05 else 60)


def test_scores_that_fall_are_found_too():
    alarm = watch_of().after(scores(1, 1_000)).after(scores(2, 500, -1.5)).alarms[0]
    assert alarm.kind == "martingale"
    assert "lower" in alarm.text


def test_a_watch_is_the_same_however_it_is_fed():
    stream = np.concatenate([scores(1, 2_345), scores(2, 800, 3)])
    statistics = {"size": np.arange(len(stream)) / 7}
    times = list(np.arange(len(stream)) * 0.5)
    reference = {"size": np.linspace(0, 100, 200)}
    whole = watch_of(statistics=reference).after(stream, statistics, times)
    parts = watch_of(statistics=reference)
    generator = np.random.default_rng(0)
    start = 0
    while start < len(stream):
        stop = start + int(generator.integers(1, 700))
        own = {"size": statistics["size"][start:stop]}
        parts = parts.after(stream[start:stop], own, times[start:stop])
        parts = watch_of(statistics=reference).restored(parts.content())
        start = stop
    assert parts.content() == whole.content()
    assert {alarm.kind for alarm in whole.alarms} == {"martingale", "window", "statistic"}


def test_history_stays_short():
    watch = watch_of().after(scores(1, 50 * POINTS + 20_000))
    assert POINTS // 2 <= len(watch.history) < POINTS
    assert [point.at for point in watch.history] == [
        watch.every * (i + 1) for i in range(len(watch.history))
    ]
    assert watch.called == pytest.approx(
        sum(point.flagged * watch.every for point in watch.history) + watch.recent_called
    )


def test_a_window_finds_what_has_other_spread():
    wide = np.random.default_rng(5).normal(10, 2.0, WINDOW)
    alarms = watch_of().after(scores(1, WINDOW)).after(wide).alarms
    assert "window" in {alarm.kind for alarm in alarms}


def test_the_summary_is_json_with_an_interval():
    summary = watch_of(rate=0.05).after(scores(1, 300)).summary
    json.dumps(summary, allow_nan=False)
    calling = summary["calling"]
    assert calling["low"] <= calling["share"] <= calling["high"]
    assert calling["promised"] == 0.05
    json.dumps(watch_of().summary, allow_nan=False)


def test_bad_scores_and_levels_are_refused():
    with pytest.raises(DataError, match="NaN"):
        watch_of().after(np.array([1.0, np.nan]))
    with pytest.raises(UsageError, match="level"):
        watch_of(level=0)


def test_statistics_of_pictures_say_what_changed(digits):
    before = example_statistics(digits.train)
    assert all(len(values) == len(digits.train) for values in before.values())
    lighter = {k: v + (0.2 if k == "mean brightness" else 0) for k, v in before.items()}
    (found,) = drifts(before, lighter)
    assert found.text.startswith("mean brightness rose from")
    assert drifts(before, before) == []


def test_saturation_is_of_colours(digits):
    from anogen import Images

    grey = Images(np.repeat(digits.test.pixels[:], 3, 1), "grey")
    assert (example_statistics(grey)["saturation"] == 0).all()
    assert "saturation" not in example_statistics(digits.test)


def test_statistics_of_a_table_are_its_features():
    import pandas

    from anogen.data.columns import Columns
    from anogen.data.tables import Table

    frame = pandas.DataFrame({"amount": [1.0, 2.0, 3.0, 90.0], "country": list("aaab")})
    columns = Columns.of(Table.of(frame))
    found = example_statistics(columns.images_of(frame), columns)
    assert found["amount"] == pytest.approx([1, 2, 3, 90], rel=1e-5)
    assert found["country=b"] == pytest.approx([0, 0, 0, 1], abs=1e-6)


def test_intervals():
    assert interval(0, 10)[0] == 0
    assert interval(10, 10)[1] == 1
    assert interval(0, 0) == (0.0, 1.0)


def test_rare_levels_keep_the_level():
    """Ranks of columns that are 0 nearly everywhere are not approximated by a Gaussian."""
    generator = np.random.default_rng(0)
    alarmed = 0
    for _ in range(300):
        before = {f"c{n}": (generator.random(2000) < 0.002).astype(float) for n in range(20)}
        now = {name: (generator.random(500) < 0.002).astype(float) for name in before}
        alarmed += bool(drifts(before, now, 0.01))
    assert alarmed <= 6
    found = drifts({"gap": np.zeros(2000)}, {"gap": (np.arange(500) < 9).astype(float)})
    assert found[0].text.startswith("gap rose from 0 to 0.018")
    half = np.r_[np.zeros(700), np.arange(300) + 1.0]
    assert drifts({"amount": half}, {"amount": half[::2]}) == []
    assert drifts({"amount": half}, {"amount": -half[::2]})


def test_a_statistic_that_is_not_known_is_passed_over():
    watch = watch_of(statistics={"size": np.arange(100.0)})
    values = np.where(np.arange(WINDOW) % 2, np.nan, 50.0 + np.arange(WINDOW) % 7)
    assert watch.after(scores(1, WINDOW), {"size": values}).seen == WINDOW
