"""Wrong values without a synchronisation: the sticky flags and the context manager, with the flags set by hand."""

import pytest
import torch

import fastblackout as fb
from fastblackout.backends import available, select, wrong_values
from fastblackout.ops.capabilities import preferences
from fastblackout.schedule import indices
from support.subprocesses import in_a_process

OPS = fb.capabilities()["reference"]["ops"]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def clean():
    wrong_values.flag("thin", CPU)
    for flags in wrong_values._flags.values():
        flags.zero_()
    yield
    for flags in wrong_values._flags.values():
        flags.zero_()


def test_a_flag_is_one_place_in_memory():
    flag = wrong_values.flag("bridge_step", CPU)
    assert flag.dtype == torch.int32 and flag.shape == (1,)
    assert (
        wrong_values.flag("bridge_step", CPU).data_ptr() == flag.data_ptr() != wrong_values.flag("thin", CPU).data_ptr()
    )
    with torch.inference_mode():
        assert not wrong_values.flag("poisson", CPU).is_inference()


@pytest.mark.parametrize(
    ("op", "bits", "text"),
    [
        ("thin", 1, "thin: counts: must be whole numbers in 0..max_count, got others on cpu"),
        ("bridge_step", 2, "bridge_step: logits: must be finite in float32, got others on cpu"),
        ("birth_loss", 4, "birth_loss: births: must be finite and at least 0, got others on cpu"),
        (
            "poisson",
            8,
            "poisson: probability or rate: must be in [0, 1] with p + q = 1 within 1e-9, a rate finite and at least 0, "
            "got others on cpu",
        ),
        ("birth_loss", 16, f"birth_loss: {wrong_values.RULES[16]}, got others on cpu"),
        (
            "tau_leap_step",
            3,
            "tau_leap_step: counts: must be whole numbers in 0..max_count, got others on cpu; "
            "tau_leap_step: logits: must be finite in float32, got others on cpu",
        ),
    ],
)
def test_what_a_bit_says(op, bits, text):
    with pytest.raises(ValueError) as raised, fb.check_values():
        wrong_values.flag(op, CPU).fill_(bits)
    assert str(raised.value) == text
    fb.check_values.check()  # told once


def test_steps_out_of_range_on_a_device(monkeypatch):
    """A CPU tensor in the part of one on a device, whose values may not be looked at; nothing waits for the flag."""
    monkeypatch.setattr(indices, "readable", lambda tensor: False)
    schedule = fb.Schedule.logit(10)
    model = fb.BlackoutModel(torch.nn.Identity(), schedule, 255)
    image = torch.zeros(2, 1)
    model.network.forward = lambda x, time: x + time[:, None]
    calls = {  # and the least k
        "Schedule.survival": (lambda k: schedule.survival(k).p, 0),
        "Schedule.weight": (lambda k: schedule.weight("likelihood", k), 1),
        "Schedule.bridge": (lambda k: schedule.bridge(k, 0).p, 1),
        "Schedule.leap": (lambda k: schedule.leap(k, 0, form="rate"), 1),
        "Schedule.bridge_with_attrition": (lambda k: schedule.bridge_with_attrition(k, 0, 0.1)[0].p, 1),
        "BlackoutModel": (lambda k: model(image, k)[:, 0], 1),
        **{f"BlackoutModel.{name}": (getattr(model, name), 0) for name in ("center", "scale", "gain")},
    }
    assert set(calls) == set(wrong_values.STEPS)
    for op, (call, least) in calls.items():
        with fb.check_values():
            right = call(torch.tensor([least, 10]))
        for wrong in ([least - 1, 10], [least, 11], [-(2**40), 2**40]):
            with pytest.raises(ValueError) as raised, fb.check_values():
                clamped = call(torch.tensor(wrong))
            assert str(raised.value) == f"{op}: {wrong_values.STEP_RULE}, got others on cpu"
            assert torch.equal(clamped, right)
    with pytest.raises(ValueError, match="^Schedule.bridge: k: "), fb.check_values():
        assert schedule.bridge(torch.tensor([3]), torch.tensor([7])).p == schedule.bridge(3, 2).p  # in range, not below
    for wrong, taken in ((-0.5, 0.0), (1.5, 1.0), (float("nan"), 0.0)):
        with pytest.raises(ValueError, match="^Schedule.survival: k: .* or a time in "), fb.check_values():
            assert schedule.survival(torch.tensor([wrong])).p == schedule.survival(taken).p
    with pytest.raises(ValueError, match="^Schedule.bridge: k: "), fb.check_values():
        schedule.bridge(torch.tensor([0.5]), torch.tensor([0.75]))
    fb.check_values.check()  # all is told
    assert schedule.survival(torch.tensor([99], device="meta")).p.shape == (1,)


def test_the_block():
    flag = wrong_values.flag("thin", CPU)
    flag.fill_(1)
    with fb.check_values():  # what was wrong before the block is not its concern
        pass
    with fb.check_values() as check:
        flag.fill_(1)
        with pytest.raises(ValueError, match="^thin: counts"):
            check.check()
    flag.fill_(1)  # sticky outside a block too
    with pytest.raises(ValueError, match="^thin: counts"):
        fb.check_values.check()
    with pytest.raises(KeyError), fb.check_values():  # an error of the block itself stays
        flag.fill_(1)
        raise KeyError
    with fb.check_values(), pytest.raises(ValueError, match="^thin: x_0: must be"):  # the CPU checks anyway
        fb.thin(torch.tensor([5, 6], dtype=torch.uint8), 0.5, max_count=5)


FAR = """
import torch
import fastblackout as fb
torch.set_num_threads(1)
mean, key = torch.full((1, 7), 0.25, dtype=torch.float64), fb.Philox(1, first_sample=2476028646, call=6)
with fb.use_backend("triton"):
    drawn = fb.normal(mean, 1.0, rng=key)
    try:
        fb.thin(torch.zeros(2, 6, dtype=torch.uint8), mean[0, :2] + 1, rng=key)
    except ValueError as error:
        print(error)
print(torch.equal(drawn, fb.normal(mean, 1.0, rng=key)))
"""


@pytest.mark.slow
def test_triton_interpreted_through_the_public_ops():
    """A number 6.72 deviations out, and a wrong value. Every op: triton_single.py, tests/project/test_gpu_script.py."""
    assert (
        in_a_process(FAR, timeout=300, TRITON_INTERPRET="1")
        == f"thin: {wrong_values.RULES[8]}, got others on cpu\nTrue\n"
    )


def test_the_preference(monkeypatch):
    assert all(select.select(op, "auto", "cpu") == "cpu" for op in OPS)
    monkeypatch.setattr(select, "ON_CARD", {})  # whatever a card measured
    reasons = {"cuda": "no nvcc", "triton": None}
    monkeypatch.setattr(available, "absent", lambda backend, op: reasons[backend])
    assert select.select("thin", "auto", "cuda") == "triton"
    with pytest.raises(ValueError, match="^thin: backend: 'cuda' is absent: no nvcc, got backend='cuda'"):
        select.select("thin", "cuda", "cuda")
    reasons["cuda"] = None
    assert select.select("thin", "auto", "cuda") == "cuda"
    with fb.use_backend("triton"):
        assert select.select("thin", "auto", "cuda") == "triton"
    reasons.update(cuda="no nvcc", triton="not installed")
    text = (
        r"^thin: backend: none is present for cuda arrays \(cuda: no nvcc; triton: not installed\), got backend='auto'"
    )
    with pytest.raises(ValueError, match=text):
        select.select("thin", "auto", "cuda")
    with pytest.raises(ValueError, match="^thin: backend: 'reference' does not run on cuda arrays"):
        select.select("thin", "reference", "cuda")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match=r"^thin: backend: 'triton' does not run on cpu arrays \(its interpreter does"):
        fb.thin(torch.zeros(2, dtype=torch.uint8), 0.5, backend="triton")


def test_what_info_prints():
    preferred = {(device, op): backend for device, ops, backend, why in preferences() for op in ops if why}
    assert set(preferred) == {(device, op) for device in ("cpu", "cuda") for op in OPS}
    assert set(fb.capabilities()) == {"reference", "cpu", "cuda", "triton"}


def test_flags_are_not_made_inside_a_capture(monkeypatch):
    """They would lie in the graph's memory, and each replay would clear them."""
    monkeypatch.setattr(wrong_values, "_views", {})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(ValueError, match="^thin: CUDA graph: an op must have run on cuda:3 before a capture, got none"):
        wrong_values.flag("thin", torch.device("cuda", 3))


def test_reading_flags_waits_for_every_stream(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    device = torch.device("cuda", 1)
    monkeypatch.setattr(wrong_values, "_flags", {device: torch.zeros(wrong_values._MOST, dtype=torch.int32)})
    with fb.check_values():
        assert waited == [device] * 2  # the block's ops find the flags cleared, whatever their stream
    assert waited == [device] * 3
