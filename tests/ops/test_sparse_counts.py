"""scipy.sparse matrices in thin, binomial and split: what is drawn, what comes back, laws and errors."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import stats

import fastblackout as fb
from support.helpers import assert_named, chi_square_counts

RNG = fb.Philox(seed=2**63 + 5, first_sample=3, call=2)
KINDS = [sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array]
ROWS, COLUMNS = 7, 40
_generator = np.random.default_rng(0)
COUNTS = _generator.integers(1, 400, (ROWS, COLUMNS)) * (_generator.random((ROWS, COLUMNS)) < 0.3)
PER_ROW, PER_COLUMN = np.linspace(0.1, 0.9, ROWS)[:, None], np.linspace(0.2, 0.8, COLUMNS)
MOST = 5000


def stored(matrix, array):
    """Of an array that broadcasts to the matrix, what belongs to each of its stored values."""
    places = matrix.tocoo()
    return np.broadcast_to(array, matrix.shape)[places.row, places.col]


def same_structure(drawn, matrix):
    return (
        type(drawn) is type(matrix)
        and drawn.dtype == matrix.dtype
        and drawn.shape == matrix.shape
        and np.array_equal(drawn.indices, matrix.indices)
        and np.array_equal(drawn.indptr, matrix.indptr)
        and not any(np.shares_memory(getattr(drawn, of), getattr(matrix, of)) for of in ("data", "indices", "indptr"))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_stored_values_are_drawn_as_an_array(kind):
    for dtype in ("uint8", "int64", "uint16", "float32"):
        matrix = kind((COUNTS % 200).astype(dtype))
        before = matrix.copy()
        for prob in (0.3, fb.Prob(1e-20, 1.0), PER_ROW, PER_COLUMN, PER_ROW * PER_COLUMN, np.float32(0.5)):
            each = prob if isinstance(prob, fb.Prob) else stored(matrix, prob)
            drawn = fb.binomial(matrix, prob, rng=RNG)
            assert same_structure(drawn, matrix)
            assert np.array_equal(drawn.data, fb.binomial(matrix.data, each, rng=RNG))
        pair = fb.binomial(matrix, fb.Prob(PER_COLUMN, 1 - PER_COLUMN), rng=RNG)
        assert np.array_equal(pair.data, fb.binomial(matrix, PER_COLUMN, rng=RNG).data)
        for b in (None, 2.5, PER_COLUMN, PER_ROW):
            parts = fb.split(matrix, (0.2, 0.3, 0.5), b, rng=RNG)
            given = None if b is None else stored(matrix, b)
            for part, data in zip(parts, fb.split(matrix.data, (0.2, 0.3, 0.5), given, rng=RNG), strict=True):
                assert same_structure(part, matrix) and np.array_equal(part.data, data)
        assert (matrix != before).nnz == 0


@pytest.mark.parametrize("kind", KINDS)
def test_thin(kind, backend):
    for dtype in ("int32", "uint16", "float32"):
        matrix = kind(COUNTS.astype(dtype))
        whole = fb.thin(matrix, 0.3, rng=RNG, max_count=MOST)
        assert same_structure(whole.x_t, matrix) and same_structure(whole.births, matrix) and whole.model_input is None
        dense = fb.thin(matrix.data[None], 0.3, rng=RNG, max_count=MOST)
        assert np.array_equal(whole.x_t.data, dense.x_t[0]) and np.array_equal(whole.births.data, dense.births[0])
        genes = fb.thin(matrix, PER_COLUMN[None], rng=RNG, max_count=MOST)
        each = stored(matrix, PER_COLUMN)[None]
        assert np.array_equal(genes.x_t.data, fb.thin(matrix.data[None], each, rng=RNG, max_count=MOST).x_t[0])
        for alive in (PER_ROW, PER_ROW[:, 0], PER_ROW.tolist(), torch.from_numpy(PER_ROW)):
            rows = fb.thin(matrix, alive, rng=RNG, max_count=MOST)
            assert same_structure(rows.x_t, matrix) and same_structure(rows.births, matrix)
            each = stored(matrix, PER_ROW)[None]
            assert np.array_equal(rows.x_t.data, fb.thin(matrix.data[None], each, rng=RNG, max_count=MOST).x_t[0])
            assert np.array_equal((rows.x_t + rows.births).toarray(), COUNTS)
        pair = fb.Prob(PER_ROW[:, 0], 1 - PER_ROW[:, 0])
        alone = fb.thin(matrix, pair, rng=RNG, max_count=MOST, outputs="births")
        assert np.array_equal(alone.births.data, rows.births.data) and alone.x_t is None
    torch.manual_seed(1)
    fresh = fb.thin(matrix, PER_ROW, max_count=MOST).x_t
    torch.manual_seed(1)
    assert np.array_equal(fresh.data, fb.thin(matrix.data[None], each, max_count=MOST).x_t[0])
    one = kind(np.array([[5, 0, 9]], np.uint8))  # one row: one chance
    assert np.array_equal(fb.thin(one, [0.4], rng=RNG).x_t.data, fb.thin(one, 0.4, rng=RNG).x_t.data)


def test_the_laws():
    """Each stored value by its own chance: with other rows, or rows and columns changed over, it would be seen."""
    matrix = sp.csc_array(np.repeat([[30.0, 0.0], [80.0, 4.0], [0.0, 60.0]], 4000, 1).astype(np.float32))
    alive = np.array([0.2, 0.9, 0.5])
    for drawn in (fb.thin(matrix, alive, rng=RNG, max_count=100).x_t, fb.binomial(matrix, alive[:, None], rng=RNG)):
        for at, p in enumerate(alive):
            for count in (30, 80, 4, 60):
                found = drawn.toarray()[at][matrix.toarray()[at] == count]
                if found.size:
                    expected = stats.binom(count, p).pmf(np.arange(count + 1)) * found.size
                    assert chi_square_counts(np.bincount(found.astype(int), minlength=count + 1), expected) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_matrix_draws_the_same_in_any_order_and_by_rows(kind):
    matrix = kind(COUNTS)
    coo = matrix.tocoo()
    order = np.random.default_rng(1).permutation(coo.nnz)
    halves = coo.data[order] // 2, coo.data[order] - coo.data[order] // 2  # each place twice
    major, minor = (coo.row, coo.col) if matrix.format == "csr" else (coo.col, coo.row)
    twice = np.argsort(np.tile(major[order], 2), kind="stable")
    data, indices = np.concatenate(halves)[twice], np.tile(minor[order], 2)[twice]
    loose = kind((data, indices, 2 * matrix.indptr), shape=matrix.shape)
    kept = loose.copy()
    assert not loose.has_canonical_format
    draws = [
        lambda x: fb.binomial(x, PER_ROW, rng=RNG),
        lambda x: fb.thin(x, 0.3, rng=RNG, max_count=MOST).x_t,
        lambda x: fb.split(x, 2, PER_COLUMN, rng=RNG)[0],
    ]
    for draw in draws:
        assert same_structure(draw(loose), matrix) and np.array_equal(draw(loose).data, draw(matrix).data)
    assert np.array_equal(loose.data, kept.data) and np.array_equal(loose.indices, kept.indices)
    roomy = matrix.copy()
    roomy.data, roomy.indices = np.append(roomy.data, [-3, 9]), np.append(roomy.indices, [0, 0])
    assert roomy.nnz == matrix.nnz and np.array_equal(fb.binomial(roomy, PER_ROW, rng=RNG).data, draws[0](matrix).data)
    if matrix.format == "csr":
        late = RNG.at(first_sample=RNG.first_sample + int(matrix.indptr[3]))
        assert np.array_equal(fb.binomial(matrix[3:], 0.4, rng=late).data, fb.binomial(matrix, 0.4, rng=RNG)[3:].data)


def test_zeros_stay_stored_and_empty_matrices():
    matrix = sp.csr_matrix(COUNTS)
    assert fb.binomial(matrix, 0.0).nnz == matrix.nnz == fb.thin(matrix, 0.0, max_count=MOST).x_t.nnz
    for shape in ((0, 5), (3, 0), (3, 5)):
        empty = sp.csc_array(shape, dtype=np.int64)
        for alive in (0.5, np.full(shape[0], 0.5)):
            assert fb.thin(empty, alive, max_count=9).births.shape == shape
        assert fb.binomial(empty, np.full(shape, 0.5)).shape == fb.split(empty, 2, 3.0)[1].shape == shape
    flat = sp.csr_array(np.array([7, 0, 90]))
    if flat.ndim == 1:  # SciPy 1.15 and later
        assert fb.thin(flat, [1.0, 0.5, 0.0], max_count=99).x_t.toarray().tolist() == [7, 0, 0]
        assert fb.binomial(flat, np.array([0.0, 0.5, 1.0])).toarray().tolist() == [0, 0, 90]


def test_a_largest_count_of_each_gene():
    """It changes no draw, and need not be given; a matrix's column that exceeds its own is told."""
    most = COUNTS.max(0, keepdims=True)
    for matrix in (sp.csr_matrix(COUNTS), sp.csc_array(COUNTS)):
        for alive in (0.5, np.full(ROWS, 0.5)):
            drawn = fb.thin(matrix, alive, rng=RNG, max_count=MOST)
            for bound in (most, most.tolist(), COUNTS.max(1), None):
                same = fb.thin(matrix, alive, rng=RNG, max_count=bound)
                assert (same.x_t != drawn.x_t).nnz == (same.births != drawn.births).nnz == 0
            lower = most - (most == most.max())
            rule = f"thin: x_0: must be whole numbers in 0..max_count, which is {lower.max()} there"
            assert_named(lambda m=matrix, p=alive, b=lower: fb.thin(m, p, max_count=b), ValueError, rule, "got ")


def test_errors_of_counts(backend):
    matrix, one = sp.csr_matrix(COUNTS), np.full(ROWS, 0.5)
    calls = [("binomial: count", lambda x: fb.binomial(x, 0.5)), ("split: counts", fb.split)]
    calls += [("thin: x_0", lambda x, p=p: fb.thin(x, p, max_count=MOST)) for p in (0.5, one)]
    refused = lambda: fb.thin(sp.coo_matrix(COUNTS), 0.5, max_count=MOST, mask=np.array(True))  # noqa: E731
    assert_named(refused, TypeError, "thin: x_0: a sparse matrix must be in CSR or CSC format", "got coo_matrix")
    for name, call in calls:
        for other in (sp.coo_matrix, sp.lil_array, sp.dok_matrix, sp.bsr_array, sp.dia_matrix):
            rule = f"{name}: a sparse matrix must be in CSR or CSC format, convert it by .tocsr() first"
            assert_named(lambda c=call, o=other: c(o(COUNTS)), TypeError, rule, f"got {other.__name__}")
        assert_named(lambda c=call: c(matrix * 0.5), ValueError, f"{name}: must be whole numbers", ".5")
        assert_named(lambda c=call: c(-matrix), ValueError, f"{name}: ", "got -")
        assert_named(lambda c=call: c(matrix.astype(bool)), TypeError, f"{name}: dtype must be one of", "got bool")
    for alive in (0.5, one):
        call = lambda p=alive: fb.thin(matrix, p, max_count=100)  # noqa: E731
        assert_named(call, ValueError, "thin: x_0: ", f"in 0..100, got {COUNTS[COUNTS > 100][0]}")


def test_errors_of_other_arguments(backend):
    matrix, one = sp.csr_matrix(COUNTS), np.full(ROWS, 0.5)
    state = torch.get_rng_state()
    for alive in (0.5, one):
        for wrong, error, rule, value in (
            ({"center": 1.0}, ValueError, "thin: center: must be 0 for scipy.sparse", "got 1.0"),
            ({"scale": one}, ValueError, "thin: scale: must be 1 for scipy.sparse", "got array"),
            ({"outputs": "model_input"}, ValueError, "thin: outputs: must hold x_t or births", "'model_input'"),
            ({"outputs": "x"}, ValueError, "thin: outputs: must be some of x_t, births", "x"),
            ({"input_dtype": "int8"}, TypeError, "thin: input_dtype: must be one of", "int8"),
            ({"out": COUNTS}, TypeError, "thin: out: must be None for scipy.sparse", "ndarray"),
            ({"rng": 0.5}, TypeError, "thin: rng: must be a fastblackout.Philox", "float"),
            ({"backend": "triton"}, ValueError, "thin: backend: ", "backend='triton'"),
        ):
            how = {"max_count": MOST} | wrong
            assert_named(lambda p=alive, h=how: fb.thin(matrix, p, **h), error, rule, value)
    assert_named(lambda: fb.thin(matrix, one * 3, max_count=MOST), ValueError, "thin: alive: must be in [0, 1]", "1.5")
    rule = "thin: alive: shape must be (), (7,) or (7, 1) for a number for each sample, or have the 2 dimensions of x_0"
    assert_named(lambda: fb.thin(matrix, one[1:], max_count=MOST), ValueError, rule, "got (6,)")
    for prob, error, rule, value in (
        (one, ValueError, "count and prob: shapes must broadcast", "got (7, 40) and (7,)"),
        (np.ones((2, 7, 40)), ValueError, "prob: must broadcast to shape (7, 40)", "got (2, 7, 40)"),
        (torch.ones(40), TypeError, "prob: must be a number or a NumPy array", "tensor"),
        (matrix, TypeError, "prob: must be a NumPy array", "csr_matrix"),
    ):
        assert_named(lambda p=prob: fb.binomial(matrix, p), error, f"binomial: {rule}", value)
    assert_named(lambda: fb.split(matrix, 2, -PER_ROW), ValueError, "split: overdispersion: must be finite", "got -")
    assert torch.equal(state, torch.get_rng_state())  # a call that is refused draws no seed
    assert_named(lambda: fb.binomial(matrix, PER_ROW * 2), ValueError, "binomial: prob: must be in [0, 1]", "got 1.")
