"""benchmarks/transport, small: its laws and measures, a run that goes on where it was, its table and picture."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from scipy.spatial.distance import pdist, squareform


def test_the_laws_are_whole_numbers_in_range(script):
    x_0, x_1 = script("transport.measures").laws(2000, 1)
    assert x_0.dtype == x_1.dtype == np.int32 and 0 <= min(x_0.min(), x_1.min()) <= max(x_0.max(), x_1.max()) <= 195
    around = np.rint(np.arctan2(*(x_1 - 80.0).T[::-1]) / (np.pi / 4)).astype(int) % 8
    assert stats.chisquare(np.bincount(around, minlength=8)).pvalue > 1e-6
    np.testing.assert_allclose(np.hypot(*(x_1 - 80.0).T), 60, atol=18)
    assert abs(np.corrcoef(x_0[:, 0], x_1[:, 0])[0, 1]) < 0.15  # no pairs


def test_measures_are_their_definitions(script):
    rng = np.random.default_rng(2)
    x, y = rng.normal(90, 20, (1500, 2)), rng.normal(70, 25, (1500, 2))
    found = script("transport.measures").measures(x, y)
    distance = squareform(pdist(np.concatenate((x, y))))
    weight = np.repeat([1, -1], 1500) / 1500
    assert found["energy distance"] == pytest.approx(-weight @ distance @ weight)
    assert found["MMD"] == pytest.approx(np.sqrt(weight @ np.exp(-((distance / 100) ** 2)) @ weight))
    shifted = script("transport.measures").measures(x, x + 100)
    angles = np.random.default_rng(0).normal(size=(2, 100))
    angles /= np.linalg.norm(angles, axis=0)
    assert shifted["sliced W"] == pytest.approx(np.sqrt((angles.sum(0) ** 2).mean()))


def test_a_run_goes_on_and_is_shown(script, monkeypatch, tmp_path, capsys):
    run = script("transport.run")
    monkeypatch.setattr(run, "HELD", 60)
    out = tmp_path / "found.jsonl"
    given = ["--out", str(out), "--seeds", "2", "--steps", "2", "--count", "300"]
    assert run.main(given) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    names = ["true", "CountBridge", "Blackout, from nothing", "CountBridge, slack 100"]  # the peer is left out
    assert [(line["method"], line["seed"]) for line in lines] == [(name, seed) for name in names for seed in (0, 1)]
    assert all(line["energy distance"] > lines[0]["energy distance"] for line in lines[2:])
    out.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    assert run.main(given) == 0 and json.loads(out.read_text().splitlines()[-1])["MMD"] == lines[-1]["MMD"]
    capsys.readouterr()
    assert run.main([*given, "--table"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 6 and table[2].startswith("| true | ") and " ± " in table[5]
    assert "nan" not in run.table(lines[::2])  # of one seed
    assert run.main([*given[:-3], "3", *given[-2:], "--table"]) == 0  # other steps are other results
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert run.main([*given, "--picture", str(tmp_path / "all.png")]) == 0
    with Image.open(tmp_path / "all.png") as image:
        assert image.width == 910
