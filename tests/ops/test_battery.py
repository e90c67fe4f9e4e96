"""The battery on a small scale: it passes, and it fails for what is planted; `python tests/battery` is the whole."""

import functools
import json
import time

import numpy as np
import pytest

import fastblackout as fb
from battery import (
    bits,
    cells,
    draws,
    independence,
    log_probs,
    losses,
    results,
    words,
)
from battery.command import main
from fastblackout.heads import mean
from fastblackout.reference.philox import philox4x32

SEED, FEW, MANY, DRAWS = 7, 16_000, 30_000, 1 << 20
KEY = fb.Philox(SEED, first_sample=3, call=5)
SMALL = {name: independence.samples()[name] for name in ("binomial", "normal", "thin, a table", "categorical")}


def soon():
    return time.monotonic() + 600


def fails(rows):
    level = results.threshold(rows)
    return any(results.failed(row, level) for row in rows)


@pytest.mark.parametrize("draw", draws.all_draws(), ids=lambda draw: draw.name)
def test_draws_have_their_laws(draw):
    """Those of the kernels; the reference draws the same, many trials of rejection included."""
    rows = draws.check([draw], SEED, DRAWS, soon())
    assert not fails(rows)
    m = FEW // rows[0].cases
    with fb.use_backend("reference"):
        wanted = draw.draw(KEY, m)
    assert np.array_equal(draw.draw(KEY, m), wanted)


def test_it_passes():
    rows = [
        *independence.check(independence.samples(), SEED, 1, soon(), (16, 512)),
        *words.check(words.philox, SEED, 1, soon(), ("element", "stream")),
        *log_probs.check(log_probs.LOG_PROBS, SEED, 100, soon()),
        *losses.check(SEED, 40, soon()),
        *bits.check(["mean", "beta-binomial"], SEED, 1, soon(), draws=16),
    ]
    rows += results.pooled(rows)
    assert not fails(rows) and all(row.cases and (row.smallest is not None or row.error) for row in rows)
    assert all(len(results.told(row, 0.0)) <= 80 for row in rows)


def law(name, wrong, *cases):
    """Draws of the op beside another law than they have."""
    kinds = "if" if name == "binomial" else "ff"
    made = draws.element_draw(name, getattr(draws, name), list(cases), kinds)
    return lambda: draws.check([made._replace(laws=lambda: [wrong(*case) for case in cases])], SEED, 10 * MANY, soon())


def a_rare_wrong_value():
    def draw(key, m):
        made = fb.binomial(np.full((m, 1), 255), 0.01, rng=key)
        made[5] = 200
        return made

    return draws.check([draws.Draw("binomial", draw, lambda: [draws.binomial(255, 0.01)])], SEED, MANY, soon())


def a_shared_word(key, shape):
    """Every second element is drawn by the words of its neighbour."""
    return np.repeat(fb.normal(np.zeros((shape[0], shape[1] // 2)), 1.0, rng=key), 2, axis=1)


def a_lost_call(key, shape):
    return fb.normal(np.zeros(shape), 1.0, rng=key.at(call=0))


def a_bit_that_stays(*counter):
    return tuple(word | np.uint32(8) for word in philox4x32(*counter))


def of_words(source):
    return lambda: words.check(source, SEED, 1, soon(), ("call",))


def one_op(sample):
    return lambda: independence.check({"normal": sample}, SEED, 1, soon())


PLANTED = {
    "p + 1e-3": law("binomial", lambda n, p: draws.binomial(n, p + 1e-3), (255, 0.5), (255, 0.1)),
    "a wide law": law("binomial", lambda n, p: draws.binomial(n, p + 1e-6), (2**31 - 1, 0.3)),
    "a shape + 5 %": law("gamma", lambda shape, scale: draws.gamma(1.05 * shape, scale), (2.0, 1.0)),
    "one value": a_rare_wrong_value,
    "a stream twice": lambda: independence.check({**SMALL, "again": SMALL["normal"]}, SEED, 1, soon()),
    "a shared word": one_op(a_shared_word),
    "a lost call": one_op(a_lost_call),
    "few rounds": of_words(functools.partial(philox4x32, rounds=2)),
    "a bit that stays": of_words(a_bit_that_stays),
}


@pytest.mark.parametrize("what", PLANTED)
def test_it_finds_what_is_planted(what):
    assert fails(PLANTED[what]())


@pytest.mark.parametrize("function", log_probs.LOG_PROBS, ids=lambda each: each.name)
def test_it_finds_wrong_log_probs(function):
    wrong = function._replace(call=lambda *given: function.call(*given) * (1 + 1e-11))
    assert fails(log_probs.check([wrong], SEED, 50, soon()))


@pytest.mark.parametrize("family", losses.FAMILIES)
def test_it_finds_wrong_losses(family, monkeypatch):
    right = losses.FAMILIES[family]
    monkeypatch.setitem(losses.FAMILIES, family, lambda *given: right(*given) * (1 + losses.mpf(10) ** -5))
    assert fails(losses.check(SEED, 5, soon()))


def test_it_finds_a_wrong_bound(monkeypatch):
    right = mean.held
    monkeypatch.setattr(mean, "held", lambda log_y, between: right(log_y, between) + 0.2)
    assert fails(bits.check(["mean"], SEED, 1, soon(), draws=16))


def test_p_values_of_right_counts_are_uniform():
    """Of the likelihood ratio, for laws of two to many cells."""
    random = np.random.default_rng(SEED)
    laws = [[0.4, 0.6], [0.01, 0.3, 0.69], np.full(200, 0.005), draws.binomial(255, 0.3).mass]
    found = [cells.g_test(random.multinomial(20_000, mass), np.asarray(mass)) for mass in laws for _ in range(400)]
    assert results.pooled([results.Row("", 0, 0, 0.0, found)])[0].smallest > 1e-4


def test_holms_method():
    def rows(*chances):
        return [results.Row(str(chance), 1, 1, 0.0, [chance]) for chance in chances]

    assert results.threshold(rows(0.5, 1e-6, 0.1)) == -1.0
    assert results.threshold(rows(0.5, 4e-7, 0.1, 1e-8)) == 1e-8
    assert results.threshold(rows(4.9e-7, 1e-8, 0.5)) == 4.9e-7


def test_the_command(tmp_path, capsys):
    file = tmp_path / "found.json"
    assert main(["losses", "--minutes=0.001", "--seed=3", f"--json={file}"]) == 0
    assert capsys.readouterr().out.startswith("seed 3\n")
    found = json.loads(file.read_text())
    assert found["seed"] == 3 and len(found["rows"]) == 11 and all(row["ok"] for row in found["rows"])
    with pytest.raises(SystemExit, match="2"):
        main(["sums"])
