"""benchmarks/cells on small sets: what is hidden and measured, what methods are told, how a run goes on, its tables."""

import json
import sys
import zipfile

import numpy as np
import pytest

from fastblackout.cells import metrics
from support.annotated import anndata


def small(script, count=150, genes=24):
    """Cells of three types, some of whose genes differ, and a gene that type 2 has alone."""
    random, types = np.random.default_rng(3), np.arange(count) % 3
    rates = random.gamma(1.0, 4.0, (3, genes))
    rates[:2, 5] = 0
    rates[2, 5] = 3
    size = random.gamma(4.0, 0.25, (count, 1))
    return script("cells.sets").Set(
        "simulated", random.poisson(rates[types] * size).astype(np.int32), types, ["a", "b", "c"]
    )


@pytest.fixture
def outer(script):
    return script("cells.sets").split(small(script), 0, 20)


def test_splits_set_a_fifth_aside_and_choose_genes_by_the_rest(script):
    sets, data = script("cells.sets"), small(script)
    parts = [sets.split(data, number, 20) for number in range(5)]
    rows = np.concatenate([part.test for part in (sets.split(data, number, 24) for number in range(5))])
    assert sorted(map(bytes, rows)) == sorted(map(bytes, data.counts))  # each cell is in one test set
    for part in parts:
        assert part.train.shape == (120, 20) and np.bincount(part.test_types).tolist() == [10, 10, 10]
    changed = data._replace(counts=data.counts.copy())
    first = [n for n in range(150) if data.counts[n].tolist() in sets.split(data, 0, 24).test.tolist()]
    changed.counts[first] = np.random.default_rng(0).poisson(50, (len(first), 24))
    assert np.array_equal(sets.split(changed, 0, 20).train, parts[0].train)
    inside = sets.inner(parts[0], 3)
    assert inside.train.shape == (96, 20) and inside.test.shape == (24, 20)
    assert {row.tobytes() for row in np.concatenate([inside.train, inside.test])} <= {
        r.tobytes() for r in parts[0].train
    }


def test_sets_are_read_from_files_and_from_wheels(script, tmp_path, monkeypatch):
    sets = script("cells.sets")
    with zipfile.ZipFile(tmp_path / "pyplnmodels-1.0.10-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pyPLNmodels/load_data/data/scRT/counts.csv", "g1,g2\n3,0\n1,5\n0,2\n")
        wheel.writestr("pyPLNmodels/load_data/data/scRT/labels.csv", "labels\nT\nB\nT\n")
    data = sets.load("scrt", tmp_path, download=False)
    assert (
        data.counts.tolist() == [[3, 0], [1, 5], [0, 2]]
        and data.kinds == ["B", "T"]
        and data.types.tolist() == [1, 0, 1]
    )
    with pytest.raises(ValueError, match=r"cells: data: must hold datasets/10x.* of PyPI's package scanpy"):
        sets.load("pbmc", tmp_path, download=False)
    random, types = np.random.default_rng(0), np.repeat(["B", "T", "few"], [40, 40, 3])
    counts, depths = random.poisson(2.0, (83, 6)), random.integers(900, 3000, 83)
    file = anndata.AnnData(np.zeros((83, 2), np.float32), obs={"bulk_labels": types, "n_counts": depths.astype(float)})
    file.raw = anndata.AnnData(sets.np.round(np.log1p(counts * (1e4 / depths[:, None])), 3).astype(np.float32))
    from scipy.sparse import csr_matrix

    file.raw = anndata.AnnData(csr_matrix(file.raw.X))
    (tmp_path / "datasets").mkdir()
    file.write_h5ad(tmp_path / "datasets" / "10x_pbmc68k_reduced.h5ad")
    data = sets.load("pbmc", tmp_path, download=False)
    assert (
        np.array_equal(data.counts, counts[:80])
        and data.kinds == ["B", "T"]
        and np.bincount(data.types).tolist() == [40, 40]
    )


def test_what_is_hidden(script):
    hidden, data = script("cells.hidden"), small(script)
    known = hidden.known_of(data.counts, data.types)
    for row, kind in enumerate(data.types):
        for gene in range(24):
            others = data.counts[data.types == kind, gene]
            assert known[row, gene] == (data.counts[row, gene] > 0 or not others.any())
    for name, rate in (("tenth", 0.1), ("half", 0.5)):
        observed = hidden.observed_of(name, data.counts, data.types)
        assert (~observed).mean() == pytest.approx(rate, abs=4 * 0.5 / observed.size**0.5)
    for name, sign in (("high", 1), ("low", -1)):
        gone = ~hidden.observed_of(name, data.counts, data.types)
        assert (gone <= known).all() and gone.sum(axis=0).tolist() == [int(0.25 * count) for count in known.sum(axis=0)]
        for gene in range(24):
            counts = sign * data.counts[:, gene]
            assert counts[gone[:, gene]].mean() > counts[known[:, gene]].mean() or np.ptp(counts[known[:, gene]]) == 0


def test_what_comes_back_is_measured(script):
    hidden, data = script("cells.hidden"), small(script)
    counts, types = data.counts, data.types
    right = hidden.recovered("half", counts, types, counts.astype(np.float32), np.stack([counts] * 5))
    for name in ("rmse_mean", "rmse_1", "rmse_5", "log_rmse"):
        assert right[name] == 0
    for name in ("fold_correlation", "fold_slope", "genes_found", "genes_right"):
        assert right[f"{name}_mean"] == pytest.approx(1) and right[f"{name}_draw"] == pytest.approx(1)
    off = hidden.recovered("half", counts, types, counts + 2.0, np.stack([counts + n for n in (3, 0, 0, 0, 0)]))
    assert (off["rmse_mean"], off["rmse_1"], off["rmse_5"]) == pytest.approx((2, 3, 0.6))
    gone = ~hidden.observed_of("half", counts, types)
    x, mean = counts[gone].astype(float), counts[gone] + 2.0
    deviance = [2 * (a * np.log(a / b) - a + b) if a else 2 * b for a, b in zip(x, mean, strict=True)]
    assert off["deviance"] == pytest.approx(np.mean(deviance))
    assert off["log_rmse"] == pytest.approx(np.mean((np.log1p(mean) - np.log1p(x)) ** 2) ** 0.5)
    assert "rmse_1" not in hidden.recovered("half", counts, types, counts.astype(np.float32), None)
    shuffled = hidden.differences(counts, np.random.default_rng(0).permutation(types), counts, types)
    assert shuffled["genes_found"] < 0.2 and abs(shuffled["fold_slope"]) < 0.5
    two = types < 2
    turned = hidden.differences(counts[two], 1 - types[two], counts[two], types[two])
    assert turned["genes_found"] == 0 and turned["fold_slope"] == pytest.approx(-1)
    assert hidden.differences(counts[:20], types[:20], counts, types) == {}


def test_the_least_mean_rank_is_chosen(script):
    run = script("cells.run")

    def trial(name, auc, distance, deviance):
        numbers = [] if auc is None else [{"forest_auc_log": auc, "energy_distance": distance}]
        return {"settings": {"n": name}, "numbers": numbers, "imputed": {"tenth": {"deviance": deviance}}}

    assert run.chosen([trial(1, 0.6, 0.3, 2.0), trial(2, 0.45, 0.2, 1.5), trial(3, 0.3, 0.3, 2.0)]) == {"n": 2}
    assert run.chosen([trial(1, 0.2, 0.1, 2.0), trial(2, 0.52, 0.2, 1.0)]) == {"n": 2}
    assert run.chosen([trial(1, None, None, 2.0), trial(2, None, None, 1.0)]) == {"n": 2}
    alike = [trial(1, 0.5, 0.1, 2.0), trial(2, 0.5, 0.1, 2.0)]
    assert run.chosen(alike) == {"n": 1}


def test_intervals_are_known(script):
    tables = script("cells.tables")
    assert tables.interval([[1.0], [1.0], [1.0]]) == (1.0, 1.0)
    low, high = tables.interval([[0.0, 1.0]] * 400)  # by the central limit theorem
    assert (low, high) == pytest.approx(
        (0.5 - 1.96 * (0.125 / 400) ** 0.5, 0.5 + 1.96 * (0.125 / 400) ** 0.5), abs=0.003
    )
    values = np.array([1.0, 2, 3, 4, 5])
    assert tables.corrected(values) == pytest.approx(2.776 * 2.5**0.5 * (0.2 + 0.25) ** 0.5)


def test_a_method_is_never_told_a_hidden_count(script, outer, monkeypatch):
    jobs, hidden, told = script("cells.jobs"), script("cells.hidden"), {}
    done = jobs.run_method("independent", {}, outer, 1, ["half"], 3, sys.executable)
    assert done.draws["half"].shape == (5, *outer.test.shape) == (5, *done.samples[0].shape)
    assert done.facts["memory_mib"] > 10 and done.facts["seconds"].keys() == {"fit", "sample", "impute"}
    with pytest.raises(RuntimeError, match="neighbours by .* ended with status 1: TypeError: .*unexpected"):
        jobs.run_method("neighbours", {"wrong": 1}, outer, 0, ["half"], 3, sys.executable)
    run = jobs.subprocess.run
    monkeypatch.setattr(
        jobs.subprocess,
        "run",
        lambda command, **how: told.update(np.load(command[2] + "/job.npz")) or run(command, **how),
    )
    jobs.run_method("independent", {}, outer, 1, ["half", "low"], 3, sys.executable)
    assert {name for name, values in told.items() if values.shape == outer.test.shape} == {
        "seen_half", "seen_low", "observed_half", "observed_low"
    }  # fmt: skip
    for name in ("half", "low"):
        gone = ~hidden.observed_of(name, outer.test, outer.test_types)
        assert np.array_equal(told[f"seen_{name}"], np.where(gone, 0, outer.test)) and outer.test[gone].any()


def test_simple_methods(script, outer):
    simple = script("cells.methods.simple")
    independent, copies = simple.Independent(), simple.Copies()
    for method in (independent, copies):
        method.fit(outer.train, outer.train_types, 0)
        kinds = np.arange(6000) % 3
        made = method.sample(kinds, 1)
        for kind in range(3):
            real = outer.train[outer.train_types == kind]
            mean, error = real.mean(axis=0), np.sqrt(made[kinds == kind].var(axis=0) / 2000)
            near = np.abs(made[kinds == kind].mean(axis=0) - mean) < 5 * error + 0.1
            assert near.all()
            varies = real.var(axis=0) > 1
            ratios = made[kinds == kind][:, varies].var(axis=0) / real[:, varies].var(axis=0)
            assert abs(np.log(ratios).mean()) < 0.35
    distance = np.abs(copies.sample(outer.train_types, 0)[:, None] - outer.train[None]).sum(axis=2).min(axis=1)
    assert (
        distance.mean()
        < 0.6 * np.abs(independent.sample(outer.train_types, 0)[:, None] - outer.train).sum(2).min(1).mean()
    )
    seen = np.full(outer.test.shape, True)
    seen[:, 0] = False
    near = simple.Neighbours()
    near.fit(outer.train, outer.train_types, 0, k=1)
    told = near.impute(np.where(seen, outer.train[:30], 0), seen[:30], outer.train_types[:30], 5, 0)
    assert told.draws is None and np.corrcoef(told.mean[:, 0], outer.train[:30, 0])[0, 1] > 0.99


@pytest.fixture
def bench(script, capsys, tmp_path, monkeypatch):
    """Runs the command on the small set: its status, its lines, its errors."""
    data = small(script)
    monkeypatch.setattr(script("cells.sets"), "load", lambda name, folder, download: data)
    monkeypatch.setattr(metrics, "forest_auc", lambda x, y, seed: 0.6)

    def run(*arguments):
        status = script("cells.run").main(["--out", str(tmp_path / "r.jsonl"), *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_a_run_goes_on_where_it_was(script, bench, tmp_path, monkeypatch):
    out, jobs, done = tmp_path / "r.jsonl", script("cells.jobs"), []
    asked = ["--sets", "simulated", "--genes", "20", "--trials", "2", "--methods", "independent", "neighbours"]
    run_method = jobs.run_method
    monkeypatch.setattr(script("cells.run"), "run_method", lambda *given: done.append(given[:2]) or run_method(*given))
    status, text, said = bench(*asked, "--splits", 1)
    assert status == 0 and len(done) == len(said.splitlines()) == 4
    lines = out.read_text().splitlines(keepends=True)
    first = json.loads(lines[0])
    assert [json.loads(line)["train"] for line in lines] == [120, 96, 96, 120]
    assert [json.loads(line)["stage"] for line in lines] == ["final", "trial", "trial", "final"]
    assert len(first["numbers"]) == len(first["floors"]) == 3 and list(first["imputed"]) == [
        "tenth",
        "half",
        "high",
        "low",
    ]
    out.write_text("".join(lines[:-1]) + lines[-1][:40])  # ended while it wrote
    done.clear()
    assert bench(*asked, "--splits", 1)[:2] == (0, text) and len(done) == 1
    best = min(lines[1:3], key=lambda line: json.loads(line)["imputed"]["tenth"]["deviance"])
    assert done[0] == ("neighbours", json.loads(best)["settings"])
    done.clear()
    status, more, _ = bench(*asked, "--splits", 2)
    assert status == 0 and len(done) == 4 and bench("--tables", "--splits", 2)[1] == more and len(done) == 4
    lacking = "Of simulated these methods lack a split, and are left out: independent, neighbours"
    assert bench("--tables")[1].strip() == lacking  # and no table
    rows = [line for line in more.splitlines() if line.startswith("| independent")]
    energy = [json.loads(line)["numbers"] for line in out.read_text().splitlines() if '"independent"' in line]
    mean = np.mean([one["energy_distance"] for each in energy for one in each])
    assert rows[0].split("|")[2].split()[0] == f"{mean:.3f}" and " to " in rows[0]
    assert more.splitlines()[0] == "### simulated: 120 training cells, 30 held out, 20 genes"
    assert sum(line.startswith("Hidden: ") for line in more.splitlines()) == 4


def test_a_method_that_fails_is_told_and_the_others_go_on(script, bench):
    status, text, error = bench(
        "--sets", "simulated", "--splits", 1, "--trials", 1, "--methods", "law", "independent", "--genes", 20
    )
    assert status == 1 and "cells: law by " in error and "must be all of the simulated set for the law" in error
    assert "independent negative binomials" in text
