"""fb.cells.compare: its metrics beside definitions and known answers, what it sees, and what it refuses."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from fastblackout.cells import compare, metrics
from fastblackout.cells.report import _METRICS
from support.annotated import anndata

GENES, TYPES = 30, np.array(["B", "NK", "T"])
RATES = np.random.default_rng(5).gamma(1.0, 3.0, (3, GENES)) + 0.1


def counts_of(count, seed, by=1.0):
    """Counts of one law, and types 0, 1, 2: a cell's size differs and is what its genes have in common."""
    random = np.random.default_rng(seed)
    types = np.arange(count) % 3
    size = random.gamma(4.0, 0.25, (count, 1))
    return random.poisson(RATES[types] * size * by), types


def annotated(count, seed, by=1.0, lay=np.asarray):
    counts, types = counts_of(count, seed, by)
    genes = [f"gene-{n}" for n in range(GENES)]
    data = anndata.AnnData(lay(counts.astype(np.float32)), obs={"type": TYPES[types]})
    data.var_names = genes
    return data


MADE, REAL, TRAIN = annotated(150, 1), annotated(150, 2), annotated(400, 3)


@pytest.fixture(scope="module")
def equal():
    return compare(MADE, REAL, train=TRAIN, labels_key="type", rng=4)


@pytest.fixture
def quick(monkeypatch):
    """Without forests, which take most of the time."""
    monkeypatch.setattr(metrics, "forest_auc", lambda x, y, seed: 0.5)


def test_distances_are_their_definitions():
    random = np.random.default_rng(0)
    x, y, width = random.normal(size=(7, 3)), random.normal(0.5, 2, (5, 3)), 1.7

    def mean(kernel, a, b, same):
        each = [kernel(np.linalg.norm(p - q)) for i, p in enumerate(a) for j, q in enumerate(b) if not same or i != j]
        return np.mean(each)

    def of(kernel):
        return mean(kernel, x, x, True) + mean(kernel, y, y, True) - 2 * mean(kernel, x, y, False)

    def gaussian(d):
        return np.mean([np.exp(-(d**2) / (2 * (s * width) ** 2)) for s in (0.25, 0.5, 1, 2)])

    assert metrics.energy_distance(x, y) == pytest.approx(-of(lambda d: d), rel=1e-12)
    assert metrics.squared_mmd(x, y, width) == pytest.approx(of(gaussian), rel=1e-12)


def test_lines_changes_and_correlations_are_known():
    x = np.array([1.0, 2.0, 4.0])
    assert metrics.line(x, 3 - 2 * x) == pytest.approx((-1, -2))
    assert metrics.line(np.array([0.0, 1, 2]), np.array([0.0, 0, 3])) == pytest.approx((0.8660254, 1.5))
    assert np.isnan(metrics.line(x, 0 * x)).all()
    cells = metrics.DenseCells(np.array([[6, 2], [6, 2], [0, 8], [8, 0]], np.float32), np.array(["a", "a", "b", "b"]))
    assert metrics.fold_changes(cells, ["a", "b"]) == pytest.approx(np.log2([7500.5 / 5000.5, 2500.5 / 5000.5]))
    log = np.random.default_rng(0).normal(size=(20, 3))
    found, varied = metrics._correlations(np.c_[log, np.ones(20)])
    assert found[[0, 1, 3]] == pytest.approx(np.corrcoef(log.T)[np.triu_indices(3, 1)])
    assert varied.tolist() == [True, True, False, True, False, False] and not found[~varied].any()


def test_of_one_law_nothing_is_seen(equal):
    """Each bound lies 4 standard deviations or more from the mean over 240 seeds, and none of these passed it. The
    second column is of the same law."""
    for numbers in (equal.numbers, equal.floors):
        assert -0.2 < numbers["energy_distance"] < 0.16 and abs(numbers["mmd"]) < 0.005
        assert abs(numbers["forest_auc_log"] - 0.5) < 0.18 and abs(numbers["forest_auc_raw"] - 0.5) < 0.2
        assert numbers["depth_ks"] < 0.23 and numbers["zeros_error"] < 0.08 and numbers["nearer_than_real"] < 0.19
        for name in ("means", "variances", "zeros", "fold_changes"):
            assert numbers[f"{name}_correlation"] > 0.87
        for name in ("means", "variances", "correlations", "fold_changes"):
            assert abs(numbers[f"{name}_slope"] - 1) < 0.28
    assert equal.numbers["proportions"] == 0 and equal.numbers["accuracy"] > 0.9
    assert equal.numbers["nearest_train"] == pytest.approx(equal.floors["nearest_train"], rel=0.1)
    assert equal.floors.keys() == equal.numbers.keys() and len(equal.numbers) == 18


@pytest.mark.parametrize("with_train", [True, False])
def test_components_take_no_noise_of_compared_cells_for_structure(quick, with_train):
    """The mean over 40 comparisons of cells of one law is within 4 standard errors of 0, which one of 16,000 seeds
    fails, in either column. Components that are fitted to compared cells make it larger."""
    found = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        sets = [random.poisson(3.0, (each, 300)) for each in (60, 60, 120)]
        report = compare(*sets[:2], train=sets[2] if with_train else None)
        found.append([one["energy_distance"] for one in (report.numbers, report.floors) if one is not None])
    assert np.shape(found) == (40, 1 + with_train)
    assert (abs(np.mean(found, axis=0)) < 4 * np.std(found, axis=0) / 40**0.5).all()


def test_a_forest_has_its_seed():
    x, y = counts_of(30, 1)[0], counts_of(30, 2)[0]
    assert metrics.forest_auc(x, y, 3) == metrics.forest_auc(x, y, 3) != metrics.forest_auc(x, y, 4)


def test_another_law_is_seen():
    """Deeper cells are told by their depths alone, and noise of genes in components."""
    random = np.random.default_rng(1)
    noisy = MADE.copy()
    noisy.X = random.poisson(RATES[np.arange(150) % 3] * random.gamma(1.0, 1.0, (150, GENES))).astype(np.float32)
    deep, odd = (compare(made, REAL, labels_key="type").numbers for made in (annotated(150, 1, 2.0), noisy))
    assert deep["forest_auc_raw"] > 0.75 and deep["depth_ks"] > 0.4 and deep["zeros_error"] > 0.08
    assert odd["energy_distance"] > 0.5 and odd["mmd"] > 0.005 and odd["forest_auc_log"] > 0.9
    assert odd["zeros_error"] > 0.08 and abs(odd["means_slope"] - 1) < 0.28


def test_copies_of_training_cells_are_seen(quick):
    half = MADE.copy()
    half.X[:75] = TRAIN.X[:75]
    for copies, share in ((TRAIN[:150], 1.0), (half, 0.5)):
        report = compare(copies, REAL, train=TRAIN, labels_key="type")
        assert share <= report.numbers["nearer_than_real"] < share + 0.15
        if share == 1:
            assert report.numbers["nearest_train"] < 1e-3 < report.floors["nearest_train"] / 1000
            assert all(each["generated"] < 1e-3 < each["real"] for each in report.nearest_by_type.values())
            assert list(report.nearest_by_type) == TYPES.tolist()


def test_the_nearest_cell_is_of_the_same_type(quick):
    """Training cells of another type do not count, though they are copied."""
    relabelled = TRAIN[:150].copy()
    relabelled.obs["type"] = TYPES[(np.arange(150) + 1) % 3]
    report = compare(relabelled, REAL, train=TRAIN, labels_key="type")
    assert report.numbers["nearest_train"] > report.floors["nearest_train"]
    assert compare(relabelled, REAL, train=TRAIN).numbers["nearest_train"] < 1e-3


def test_types_in_other_proportions(quick):
    """Nothing but their proportions is told of a type alone; one that is missing, or new, is no error."""
    few = MADE[np.r_[0:150:3, 1:60:3, 2:60:3]]
    numbers = compare(few, REAL, train=TRAIN, labels_key="type").numbers
    assert numbers["proportions"] == pytest.approx(50 / 90 - 1 / 3)
    assert numbers["fold_changes_slope"] > 0.9 < numbers["accuracy"]
    odd = few.copy()
    odd.obs["type"] = ["new"] * 50 + ["B"] * 40
    report = compare(odd, REAL, train=TRAIN, labels_key="type")
    assert list(report.nearest_by_type) == ["B"] and report.numbers["accuracy"] < 0.5
    assert "fold_changes_slope" not in report.numbers and "fold_changes_slope" in report.notes()[-1]


@pytest.mark.parametrize("lay", [sp.csr_matrix, sp.csc_array])
def test_the_same_cells_give_the_same_report(quick, lay):
    """In another layout, with genes in another order and more of them, and in a layer."""
    made, train = (data.copy() for data in (MADE, TRAIN))
    made.X, train.X = (lay(data.X) for data in (made, train))
    more = anndata.concat([REAL, REAL[:, :5].copy()], axis=1, index_unique="-", merge="same")
    more.var_names = [*REAL.var_names, *(f"more-{n}" for n in range(5))]
    real = more[:, ::-1].copy()
    real.layers["counts"], real.X = real.X, real.X / 2
    train.layers["counts"] = train.X
    found = compare(made, real, train=train, labels_key="type", layer="counts").to_dict()
    assert found == compare(MADE, REAL, train=TRAIN, labels_key="type").to_dict()


def test_the_seed_decides(quick):
    one, same, other = (compare(MADE.X, REAL.X, train=TRAIN.X, rng=seed).to_dict() for seed in (1, 1, 2))
    assert one == same and one["numbers"] != other["numbers"]


def test_means_of_several_seeds(quick):
    """Their intervals are scipy's."""
    told = {"train": TRAIN, "labels_key": "type"}
    each = [compare(MADE, REAL, rng=seed, **told) for seed in (4, 5, 6)]
    report = compare(MADE, REAL, rng=4, seeds=3, **told)
    for side, ends in (("numbers", "intervals"), ("floors", "floor_intervals")):
        assert getattr(report, side).keys() == getattr(each[0], side).keys() == getattr(report, ends).keys()
        for name, number in getattr(report, side).items():
            values = np.array([getattr(one, side)[name] for one in each])
            assert number == pytest.approx(values.mean())
            error = values.std(ddof=1) / np.sqrt(3)
            wanted = stats.t.interval(0.95, 2, number, error) if error else (number, number)
            assert getattr(report, ends)[name] == pytest.approx(wanted)
    near = [one.nearest_by_type["B"]["real"] for one in each]
    assert report.nearest_by_type["B"]["real"] == pytest.approx(np.mean(near)) and len(set(near)) > 1
    assert report.to_dict()["intervals"]["mmd"] == list(report.intervals["mmd"])
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict() and "intervals" not in each[0].to_dict()
    lines, (low, high) = str(report).splitlines(), report.intervals["mmd"]
    row = next(line for line in lines if line.startswith("Squared MMD")).split()
    assert row[4:6] == [f"{report.numbers['mmd']:.4f}", f"+-{(high - low) / 2:.4f}"] and max(map(len, lines)) <= 80
    assert "means of the seeds 4 to 6; behind +- is half the interval of 95%" in " ".join(str(report).split())
    assert "+-" not in str(each[0])


@pytest.mark.parametrize("lay", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_training_cells_among_the_real_ones_are_told(quick, lay):
    real = anndata.concat([TRAIN[3:10].copy(), REAL], index_unique="-")
    real.X[0, 0] += 1  # one count makes another cell
    real.X, train = lay(real.X), TRAIN.copy()
    train.X = lay(train.X)
    report = compare(MADE, real[:, ::-1].copy(), train=train)
    assert report.facts["seen"] == 6 and "given 6 had all counts of a training cell." in " ".join(str(report).split())
    report = compare(MADE, REAL, train=TRAIN)
    assert report.facts["seen"] == 0 and "had all counts" not in str(report)
    assert compare(MADE, real).facts["seen"] is None


def test_large_inputs_are_subsampled(monkeypatch):
    seen = []
    monkeypatch.setattr("fastblackout.cells.metrics.MOST_CELLS", 60)
    monkeypatch.setattr(metrics, "FOREST_GENES", 7)
    monkeypatch.setattr(metrics, "forest_auc", lambda x, y, seed: seen.append((x, y)) or 0.5)
    report = compare(MADE, REAL, train=TRAIN, labels_key="type")
    assert [report.facts[each] for each in ("generated", "real", "floor", "train")] == [60, 60, 60, 400]
    assert "60 generated and 60 real cells of 30 genes" in str(report)
    assert len(seen) == 4 and all(part.shape == (60, 7) for pair in seen for part in pair)
    copies = compare(TRAIN, REAL, train=TRAIN, labels_key="type")
    assert copies.numbers["nearer_than_real"] == 1  # all training cells count, whatever is subsampled


def test_a_report_is_read_and_drawn(quick, equal, tmp_path):
    assert json.loads(json.dumps(equal.to_dict())) == equal.to_dict()
    bare = compare(MADE.X, REAL.X)
    for report in (equal, bare):
        lines = str(report).splitlines()
        assert max(map(len, lines)) <= 80
        for (words, digits, _), number in ((_METRICS[name], number) for name, number in report.numbers.items()):
            row = next(line for line in lines if line.startswith(words))
            assert row.split(words)[1].split()[0] == f"{number:.{digits}f}"
    words = " ".join(str(bare).split())
    assert "Without labels_key the metrics of types are left out." in words and "column real has" not in words
    assert "Without training cells there is no column of real ones" in words and "Left out, as" not in words
    assert bare.floors is None and not {"accuracy", "nearest_train"} & bare.numbers.keys()
    many = MADE.copy()
    many.obs["type"] = [f"type {n % 12}" for n in range(150)]
    for report in (bare, compare(many, many[::2], labels_key="type")):
        files = report.plot(tmp_path / "plots")
        assert [path.name for path in files] == ["genes.png", "depth.png", "components.png"]
        assert all(path.read_bytes()[:4] == b"\x89PNG" for path in files)


def with_type(data, values):
    data = data.copy()
    data.obs["type"] = values
    return data


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: compare(MADE, REAL[:, 2:]), ValueError, "real: must have all 30 genes, by var_names, got none named"),
        (lambda: compare(MADE, REAL, train=TRAIN[:, :9]), ValueError, "train: must have all 30 genes"),
        (lambda: compare(MADE.X, REAL.X[:, 2:]), ValueError, "real: must have 30 genes as generated has, got 28"),
        (lambda: compare(MADE[:0], REAL), ValueError, "generated: must have 10 cells and 3 genes or more, got 0 "),
        (lambda: compare(MADE, REAL[:9]), ValueError, "real: must have 10 cells and 3 genes or more, got 9 and 30"),
        (lambda: compare(MADE.X[:, :2], REAL.X[:, :2]), ValueError, "generated: must have 10 cells"),
        (lambda: compare(MADE.X[0], REAL.X), ValueError, "generated: must be cells by genes, got shape"),
        (lambda: compare(MADE, anndata.AnnData(REAL.X + 0.5, var=REAL.var)), ValueError, "real: must hold raw counts"),
        (lambda: compare(-MADE.X, REAL.X), ValueError, "generated: must hold raw counts"),
        (lambda: compare(MADE.X, 0 * REAL.X), ValueError, "real: counts must differ between cells, got the same"),
        (lambda: compare(MADE.X, REAL.X, train=0 * REAL.X), ValueError, "train: counts must differ between cells"),
        (lambda: compare(MADE, REAL, labels_key="kind"), ValueError, "labels_key: must be a column of obs of gen"),
        (
            lambda: compare(MADE, anndata.AnnData(REAL.X, var=REAL.var), labels_key="type"),
            ValueError, "labels_key: must be a column of obs of real, one of those there are, none, got 'type'",
        ),
        (lambda: compare(MADE, with_type(REAL, None), labels_key="type"), ValueError, "labels_key: every cell must"),
        (lambda: compare(MADE.X, REAL.X, labels_key="type"), TypeError, "labels_key: must be None but for AnnData"),
        (lambda: compare(MADE.X, REAL.X, layer="counts"), TypeError, "layer: must be None but for AnnData, got"),
        (lambda: compare(MADE, REAL, layer="counts"), ValueError, "layer: must be one of"),
        (lambda: compare(MADE, REAL.X), TypeError, "real: must be an AnnData only if generated is one"),
        (lambda: compare(MADE.X.tolist(), REAL.X), TypeError, "generated: must be an AnnData, a NumPy array or a"),
        (lambda: compare(MADE, REAL, seed=1), TypeError, "seed: must be given as rng=, got 1"),
        (lambda: compare(MADE, REAL, rng=-1), ValueError, "rng: must be in 0..4294967295, got -1"),
        (lambda: compare(MADE, REAL, rng=None), TypeError, "rng: must be an integer, got None"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(call, error, text, monkeypatch):
    monkeypatch.setattr(metrics, "forest_auc", None)  # before any work
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value).startswith(f"compare: {text}"), raised.value
