"""NCSN++: names and sizes of the reference, FIR resampling by scipy, conditioning, errors; and the moving average."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.signal import upfirdn

from fastblackout.models import NCSNpp, celeba64, cifar10, ema_decay, ema_of, load_score_sde, mnist, small
from fastblackout.models.layers import FIR, FIRDownConv

torch.set_num_threads(1)


def tiny(**kwargs):
    """A network with every kind of layer, all weights random: the zero initial values would hide most of it."""
    torch.manual_seed(0)
    arguments = {"in_channels": 2, "channels": 8, "channel_mult": (1, 2), "blocks": 1, "attention_levels": (1,)}
    network = NCSNpp(**{**arguments, **kwargs})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


def batch(count=3, channels=2, height=8, width=8):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, height, width, generator=generator), torch.arange(count) * 17


# --- the reference architecture


def test_reference_presets_have_the_published_size_and_score_sde_names():
    with torch.device("meta"):
        network, faces, digits = cifar10(), celeba64(), mnist()
    state = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == 62_693_251
    assert len(state) == 571
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes["sigmas"] == (1000,)
    assert shapes["all_modules.0.weight"] == (512, 128)
    assert shapes["all_modules.2.weight"] == (128, 3, 3, 3)
    assert shapes["all_modules.3.Dense_0.weight"] == (128, 512)
    assert shapes["all_modules.7.Conv_2.weight"] == (128, 128, 1, 1)  # down block
    assert shapes["all_modules.8.Conv2d_0.weight"] == (128, 3, 3, 3)  # input pyramid
    assert shapes["all_modules.9.Conv_2.weight"] == (256, 128, 1, 1)
    assert shapes["all_modules.10.NIN_3.W"] == (256, 256)  # attention at 16x16, level 1
    last = max(int(name.split(".")[1]) for name in shapes if name != "sigmas")
    assert shapes[f"all_modules.{last}.weight"] == (3, 128, 3, 3)
    # CelebA-64 has its attention one level lower, with as many channels: the same size in another order.
    assert sum(p.numel() for p in faces.parameters()) == 62_693_251
    assert "all_modules.10.NIN_0.W" not in faces.state_dict()
    # Two input channels fewer: in the first, the last and the pyramid's first 3x3 convolution, and in one bias.
    assert sum(p.numel() for p in digits.parameters()) == 62_693_251 - 3 * 2 * 9 * 128 - 2


def test_initial_values_follow_the_reference():
    torch.manual_seed(0)
    network = NCSNpp(1, 32, (1, 2), 1, (1,))
    state = network.state_dict()
    assert state["all_modules.3.Conv_0.weight"].abs().max() <= math.sqrt(3 / (9 * 32))
    assert state["all_modules.3.Conv_0.weight"].std().item() == pytest.approx(math.sqrt(1 / (9 * 32)), rel=0.05)
    assert 0 < state["all_modules.3.Conv_1.weight"].abs().max() <= math.sqrt(3e-10 / (9 * 32))
    assert state["all_modules.3.Conv_1.bias"].abs().max() == 0
    out = network(torch.randn(2, 1, 8, 8), torch.tensor([0, 5]))
    assert out.abs().max() < 1e-3


def test_score_sde_checkpoints_load():
    source, target = tiny(sigmas=10), tiny()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1.0)
    shadow = [p.detach() * 0.5 for p in source.parameters()]
    checkpoint = {"model": {f"module.{k}": v for k, v in source.state_dict().items()}, "ema": {"shadow_params": shadow}}
    load_score_sde(target, checkpoint, weights="network")
    assert all(torch.equal(a, b) for a, b in zip(target.parameters(), source.parameters(), strict=True))
    load_score_sde(target, checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(target.parameters(), shadow, strict=True))
    with pytest.raises(ValueError, match="checkpoint: must fit the network"):
        load_score_sde(tiny(channels=16), checkpoint)
    with pytest.raises(ValueError, match="checkpoint: ema must match the parameters"):
        load_score_sde(untouched := tiny(), {**checkpoint, "ema": {"shadow_params": shadow[:-1]}})
    assert all(torch.equal(a, b) for a, b in zip(untouched.parameters(), tiny().parameters(), strict=True))
    with pytest.raises(ValueError, match="checkpoint: must have the keys"):
        load_score_sde(target, {"model": {}})
    with pytest.raises(ValueError, match="weights"):
        load_score_sde(target, checkpoint, weights="best")


# --- layers


def resampled(image, up, down, pad, gain):
    """upfirdn along both axes with [1, 3, 3, 1] / 8, by scipy, in float64."""
    taps = np.array([1.0, 3.0, 3.0, 1.0]) / 8 * gain
    for axis in (-2, -1):
        size = image.shape[axis]
        full = upfirdn(taps, image, up=up, axis=axis)
        if up > 1:  # zeros after the last pixel, which scipy leaves out
            full = np.concatenate([full, np.zeros_like(np.take(full, [0], axis))], axis)
        index = np.arange(4 - 1 - pad, 4 - 1 - pad + size * up // down * down, down)
        image = np.take(full, index, axis)
    return image


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_fir_resampling_equals_upfirdn(channels):
    image = np.random.default_rng(0).normal(size=(2, channels, 6, 10))
    x = torch.from_numpy(image)
    fir = FIR().double()
    assert np.abs(fir.down(x).numpy() - resampled(image, 1, 2, 1, 1.0)).max() < 1e-15
    assert np.abs(fir.up(x).numpy() - resampled(image, 2, 1, 2, 2.0)).max() < 1e-15


@pytest.mark.parametrize("channels", [1, 5])  # 1: the composed 6x6 kernel; 5: two passes
def test_fir_down_convolution_equals_filter_then_convolution(channels):
    torch.manual_seed(0)
    layer = FIRDownConv(channels, 4).double()
    with torch.no_grad():
        layer.Conv2d_0.bias.normal_()
    image = torch.randn(2, channels, 6, 8, dtype=torch.float64)
    taps = np.array([1.0, 3.0, 3.0, 1.0]) / 8
    smooth = image.numpy()
    for axis in (-2, -1):  # of the full filter's size + 3 values, score_sde's padding keeps size + 1
        smooth = upfirdn(taps, smooth, axis=axis)
        smooth = np.take(smooth, np.arange(1, smooth.shape[axis] - 1), axis)
    weight, bias = layer.Conv2d_0.weight.detach().numpy(), layer.Conv2d_0.bias.detach().numpy()
    expected = np.empty((2, 4, 3, 4))
    for row in range(3):
        for column in range(4):
            patch = smooth[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            expected[:, :, row, column] = np.einsum("bchw,ochw->bo", patch, weight) + bias
    assert np.abs(layer(image).detach().numpy() - expected).max() < 1e-13


# --- the network


def test_gradient_reaches_every_parameter():
    network = tiny(num_classes=3)
    x, time = batch()
    network(x, time, torch.tensor([0, 1, 3])).square().sum().backward()
    for name, parameter in network.named_parameters():
        # A bias of the attention's keys shifts all scores of a query alike, so its exact gradient is 0.
        if not name.endswith("NIN_1.b"):
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_samples_do_not_influence_each_other_and_time_matters():
    network = tiny().eval()
    x, time = batch()
    both = network(x, time)
    assert torch.allclose(network(x[1:2], time[1:2]), both[1:2], atol=1e-5)
    assert (network(x, time + 1) - both).abs().max() > 1e-4


def test_conditioning():
    plain, network = tiny(), tiny(num_classes=3).eval()
    added = set(network.state_dict()) - set(plain.state_dict())
    assert added == {"class_embedding.weight"} and network.class_embedding.weight.shape == (4, 32)
    x, time = batch()
    none = network(x, time)
    assert torch.equal(network(x, time, torch.tensor([3, 3, 3])), none)
    mixed = network(x, time, torch.tensor([3, 0, 1]))
    assert torch.allclose(mixed[0], none[0], atol=1e-6)
    assert (mixed[1] - none[1]).abs().max() > 1e-4


def test_bfloat16_autocast_is_close_and_trains():
    network = tiny(dropout=0.0)
    x, time = batch()
    with torch.autocast("cpu", torch.bfloat16):
        low = network(x.bfloat16(), time)  # the ops may emit bfloat16 model inputs
    full = network(x, time)
    assert low.dtype == torch.bfloat16
    assert (low.float() - full).abs().max() < 0.1 * full.abs().max()
    low.float().square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert network(x.double(), time).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3, 2, 7, 8)}, "height and width must be positive multiples of 2"),
        ({"x": torch.zeros(3, 2, 0, 8)}, "height and width must be positive multiples of 2"),
        ({"x": torch.zeros(3, 1, 8, 8)}, r"x: must have shape \(B, 2, H, W\)"),
        ({"x": torch.zeros(2, 8, 8)}, "x: must have shape"),
        ({"x": torch.zeros(3, 2, 8, 8, dtype=torch.uint8)}, "x: must be floating"),
        ({"time": torch.zeros(3)}, "time: must have an integer dtype"),
        ({"time": torch.zeros(3, dtype=torch.bool)}, "time: must have an integer dtype"),
        ({"time": torch.zeros(2, dtype=torch.long)}, r"time: must have shape \(3,\)"),
        ({"time": torch.tensor(1)}, "time: must have shape"),
        ({"labels": torch.tensor([0, 1, 5])}, r"labels: must be in 0..4 \(4: no class\), got 5"),
        ({"labels": torch.tensor([0, -1, 2])}, "labels: .* got -1"),
        ({"labels": torch.zeros(3)}, "labels: must have an integer dtype"),
        ({"labels": torch.zeros(1, dtype=torch.long)}, "labels: must have shape"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"x": torch.zeros(3, 2, 8, 8), "time": torch.zeros(3, dtype=torch.long), **change}
    with pytest.raises(ValueError, match=message):
        tiny(num_classes=4)(**arguments)
    with pytest.raises(ValueError, match=r"NCSNpp: labels: must be None for a network without classes, got \["):
        tiny()(torch.zeros(3, 2, 8, 8), torch.zeros(3).long(), torch.zeros(3).long())


def test_bad_architectures_are_named():
    single = {"in_channels": 0, "channels": 6, "blocks": 0, "dropout": 1.0, "num_classes": 0, "sigmas": 0}
    lists = [("channel_mult", ()), ("channel_mult", (1, 0)), ("attention_levels", (2,)), ("attention_levels", (-1,))]
    for name, value in [*single.items(), *lists]:
        with pytest.raises(ValueError, match=f"NCSNpp: {name}: must be"):
            tiny(**{name: value})


@pytest.mark.parametrize(
    ("shape", "levels"), [((1, 8, 8), 2), ((1, 28, 28), 3), ((3, 32, 32), 4), ((3, 64, 64), 4), ((2, 8, 20), 2)]
)
def test_small_preset_fits_the_image(shape, levels):
    network = small(shape, channels=8)
    assert network.levels == levels
    x = torch.randn(1, *shape)
    assert network(x, torch.tensor([3])).shape == x.shape
    # 48 channels become 144 after a skip connection, which 32 groups do not divide.
    assert small(shape, channels=48, blocks=2, num_classes=10).num_classes == 10


def test_small_preset_rejects_other_shapes():
    for shape in ((8, 8), (1, 2, 8)):
        with pytest.raises(ValueError, match="small: shape"):
            small(shape)
    for size in (3, None, "abc", (3.0, 32, 32)):
        with pytest.raises(TypeError, match=r"^small: shape: must be one argument \(C, H, W\) of integers, .*, got "):
            small(size, 32, 32)


# --- the moving average


def walk(model, ema, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn(parameter.shape, generator=generator)
        ema.update(model)


def test_ema_follows_the_reference_rule():
    model = torch.nn.Linear(3, 2).double()
    expected, ema = copy.deepcopy(model), ema_of(model, max_decay=0.3)
    generator = torch.Generator().manual_seed(5)
    for n in range(1, 8):  # decays 2/11, 3/12, then the cap 0.3
        walk(model, ema, 1, seed=int(torch.randint(1000, (1,), generator=generator)))
        decay = min(0.3, (1 + n) / (10 + n))
        assert ema_decay(n, 0.3) == decay
        with torch.no_grad():
            for average, current in zip(expected.parameters(), model.parameters(), strict=True):
                average.copy_(decay * average + (1 - decay) * current)
        for average, got in zip(expected.parameters(), ema.model.parameters(), strict=True):
            assert torch.allclose(average, got, rtol=1e-13, atol=1e-13)
    assert ema.updates == 7 and ema_decay(10**6) == 0.9999
    assert not ema.model.training and not any(p.requires_grad for p in ema.parameters())
    with pytest.raises(ValueError, match="max_decay"):
        ema_of(model, 1.0)


def test_ema_resumes_to_the_bit():
    model = tiny()
    ema = ema_of(model)
    walk(model, ema, 3, seed=0)
    saved, resumed_model = copy.deepcopy(ema.state_dict()), copy.deepcopy(model)
    walk(model, ema, 3, seed=1)
    resumed = ema_of(resumed_model)
    resumed.load_state_dict(saved)
    assert resumed.updates == 3
    walk(resumed_model, resumed, 3, seed=1)
    for name, value in ema.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert torch.equal(model.all_modules[0].weight, resumed_model.all_modules[0].weight)
