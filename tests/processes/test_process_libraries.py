"""Processes: NumPy, torch and DLPack go in and come out; narrow floats, sparse generators; pickles and reprs."""

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse

import fastblackout as fb
from fastblackout import processes as on
from fastblackout.processes import conversion as to
from support.arrays import DLPackOnly
from support.process_calls import PROCESSES, arguments, calls

torch.set_num_threads(1)
every = pytest.mark.parametrize("name", PROCESSES)


def exported(array):
    return DLPackOnly(array, namespace=True)


def plain(value):
    """As NumPy, whatever it is."""
    return value.numpy() if isinstance(value, torch.Tensor) else np.from_dlpack(value)


@pytest.mark.parametrize("kind", [np.ndarray, torch.Tensor, DLPackOnly])
@every
def test_every_call_gives_back_what_came_in(name, kind):
    make = {np.ndarray: np.copy, torch.Tensor: torch.from_numpy, DLPackOnly: exported}[kind]
    process, arrays = PROCESSES[name], arguments(PROCESSES[name])
    found = calls(process, {key: make(value) for key, value in arrays.items()}, fb.Philox(3))
    for call, expected in calls(process, arrays, fb.Philox(3)).items():
        result, wanted = found[call](), expected()
        assert type(result) is kind, f"{call} gives {type(result)}"
        assert plain(result).dtype == wanted.dtype, call
        # torch sums in another order
        tolerance = {"rtol": 1e-12, "atol": 1e-12} if kind is torch.Tensor else {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(plain(result), wanted, **tolerance, err_msg=call)


def test_dlpack_without_a_namespace_gives_numpy():
    x, t = DLPackOnly(np.array([[1, 2], [3, 0]])), DLPackOnly(np.array([0.5, 1.0]))
    assert isinstance(PROCESSES["random walk"].sample_forward(x, t, rng=fb.Philox(0)), np.ndarray)
    assert isinstance(PROCESSES["random walk"].log_prob(x, x, t), np.ndarray)


def test_the_first_array_decides():
    process, x, t = PROCESSES["uniform"], np.array([1, 2]), np.array([0.5, 1.0])
    assert isinstance(process.log_prob(x, exported(x), exported(t)), np.ndarray)
    assert isinstance(process.log_prob(torch.from_numpy(x), x, exported(t)), torch.Tensor)
    assert isinstance(process.log_prob(3, 2, 0.5), np.ndarray | np.generic)
    assert isinstance(process.evaluation(exported(t)), on.Evaluation)
    assert isinstance(process.posterior(1, exported(np.full(8, 0.125)), 0.5), DLPackOnly)
    keyed = process.sample_forward(rng=fb.Philox(1).tensor(), x_0=exported(x), t=exported(t))
    assert isinstance(keyed, DLPackOnly)  # a key is no array of states


@pytest.mark.parametrize("make", [np.copy, torch.from_numpy, exported])
def test_a_model_is_given_states_like_the_start(make):
    start, seen = make(np.array([[1, 2], [3, 0]])), []

    def model(x, t):
        seen.append(type(x))
        return make(np.full((2, 2, 8), 0.125))

    found = on.sample_reverse(PROCESSES["uniform"], model, (2, 2), [1.0, 0.4, 0.0], kind="probs", start=start)
    assert {type(found), *seen} == {type(start)} and len(seen) == 2


class Older(DLPackOnly):
    """A library whose DLPack knows nothing of read-only memory, as its arrays are (JAX)."""

    def __init__(self, array):
        super().__init__(array)
        self.array.flags.writeable = False
        self.__array_namespace__ = lambda: Older

    @staticmethod
    def from_dlpack(other):
        other.__dlpack__()  # refuses what is read-only
        return Older(np.from_dlpack(other))


def test_arrays_of_a_library_without_read_only_dlpack_come_back():
    start, seen = Older(np.array([[1, 2], [3, 0]])), []
    how = {"kind": "probs", "start": start, "rng": fb.Philox(0)}
    probs = np.full((2, 2, 8), 0.125)
    found = on.sample_reverse(PROCESSES["uniform"], lambda x, t: seen.append(x) or probs, (2, 2), [1.0, 0.0], **how)
    assert type(found) is type(seen[0]) is Older


def test_numpy_beside_a_tensor_follows_it():
    process, arrays = PROCESSES["random walk"], arguments(PROCESSES["random walk"])
    x_t, posterior, t = arrays["x_t"], arrays["posterior"], arrays["t"]
    expected = process.score(x_t, posterior, t)
    for pair in ((torch.from_numpy(x_t), posterior), (x_t, torch.from_numpy(posterior))):
        np.testing.assert_allclose(process.score(*pair, t).numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(to.score_from_probs(process, *pair, t).numpy(), expected, rtol=1e-12)
    rates = torch.from_numpy(arrays["rates"])
    loss = on.rate_loss(process, x_t, arrays["x_0"], t, arrays["rates"])
    np.testing.assert_allclose(on.rate_loss(process, x_t, arrays["x_0"], t, rates).numpy(), loss, rtol=1e-12)


@every
def test_states_without_a_dimension(name):
    process = PROCESSES[name]
    for x in (3 % process.states, np.int64(3 % process.states), torch.tensor(3 % process.states)):
        assert tuple(process.reverse_rate(x, x, 0.5).shape) == (process.states,)
        assert tuple(process.bridge(x, x, 0.2, 0.5).shape) == (process.states,)
        assert tuple(process.log_prob(x, x, 0.5).shape) == ()
        assert tuple(to.jumps_into(process, x, 0.5).shape) == (process.states,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_probabilities_of_narrow_floats_are_taken(dtype):
    process, x = fb.Uniform(512), torch.arange(64)
    logits = torch.randn(64, 512, generator=torch.Generator().manual_seed(0)) * 3
    narrow = torch.softmax(logits, -1).to(dtype)
    wide = narrow.double() / narrow.double().sum(-1, keepdim=True)
    torch.testing.assert_close(process.score(x, narrow, 0.5), process.score(x, wide, 0.5), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(
        process.posterior(x, narrow[0], 0.5), process.posterior(x, wide[0], 0.5), rtol=1e-12, atol=0.0
    )
    with pytest.raises(ValueError, match="Uniform.score: posterior: must sum to 1, got 1.0"):
        process.score(x, narrow * 1.05, 0.5)


def test_scores_and_reverse_laws_are_differentiable_in_the_posterior():
    process, x, t = PROCESSES["uniform"], torch.tensor([1, 5]), torch.tensor([0.4, 1.1], dtype=torch.float64)
    logits = torch.randn(2, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: process.score(x, v.softmax(-1), t).nan_to_num(), logits)
    assert torch.autograd.gradcheck(lambda v: process.reverse_law(x, v.softmax(-1), t / 3, t), logits)
    score = process.score(x, logits.softmax(-1), 0.4)
    probs = to.probs_from_score(process, x, score, 0.4)  # reads a tensor that needs a gradient
    np.testing.assert_allclose(probs.numpy(), logits.softmax(-1).detach().numpy(), atol=1e-13)


THREE = PROCESSES["any"].generator()


@pytest.mark.filterwarnings("ignore:Sparse")  # torch calls its CSR a beta
def test_generators_of_other_kinds_are_taken():
    expected = fb.MarkovProcess(THREE).transition_matrix(0.7)
    dense = torch.from_numpy(THREE)
    some = [kind(THREE) for kind in (sparse.coo_array, sparse.csc_array, sparse.csr_array, DLPackOnly, np.float32)]
    for given in (*some, dense, dense.to_sparse(), dense.to_sparse_csr()):
        assert (fb.MarkovProcess(given).transition_matrix(0.7) == expected).all()


def squared(t):
    return t * t


def doubled(t):
    return 2 * t


@every
def test_processes_pickle(name):
    # The time change of PROCESSES is two lambdas, which no pickle holds.
    process = fb.RandomWalk(9, 1.5) if name == "sped up" else PROCESSES[name]
    changed = process.time_change(0.5).time_change(squared, doubled)
    for one in (process, process.time_change(2.0), changed):
        other = pickle.loads(pickle.dumps(one))
        assert repr(other) == repr(one)
        assert (other.transition_matrix(0.7) == one.transition_matrix(0.7)).all()
        assert (other.beta(np.array([0.7, 2.0])) == one.beta(np.array([0.7, 2.0]))).all()
        x = process.states - 1
        assert (other.reverse_rate(x, x, 0.7) == one.reverse_rate(x, x, 0.7)).all()
        assert (other.time_change(3.0).transition_matrix(0.2) == one.time_change(3.0).transition_matrix(0.2)).all()


def test_a_time_change_shares_what_was_made():
    process = PROCESSES["random walk"]
    assert process.time_change(2.0)._evaluator is process._evaluator


@pytest.mark.parametrize(
    ("process", "text"),
    [
        (fb.PureDeath(12), "PureDeath(12)"),
        (fb.Ehrenfest(11, 2.0, 0.5), "Ehrenfest(11, up=2.0, down=0.5)"),
        (fb.RandomWalk(9, 1.5), "RandomWalk(9, rate=1.5)"),
        (fb.Uniform(8), "Uniform(8)"),
        (fb.Absorbing(7), "Absorbing(7, mask=6)"),
        (fb.Redraw(np.array([0.5, 0.5])), "Redraw(2 states)"),
        (fb.ImmigrationDeath(2, 12, "open"), "ImmigrationDeath(2.0, max_count=12, boundary='open')"),
        (fb.MarkovProcess(THREE, tolerance=1e-3),
         "MarkovProcess(3 states, 4 jumps, rates up to 5.0, method='auto', tolerance=0.001)"),
        (fb.MarkovProcess(fb.RandomWalk(4).generator(), method="expm").time_change(2),
         "MarkovProcess(4 states, 6 jumps, rates up to 1.0, method='expm', tolerance=1e-12).time_change(2.0)"),
        (fb.Uniform(8).time_change(2).time_change(squared, doubled),
         "Uniform(8).time_change(2.0).time_change(squared, doubled)"),
    ],
)  # fmt: skip
def test_reprs(process, text):
    assert repr(process) == text
