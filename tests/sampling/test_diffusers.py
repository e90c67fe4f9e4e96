"""fastblackout.diffusers: schedulers, networks and pipelines that draw what fb.sample draws, and their folders."""

import importlib.util
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import fastblackout as fb
from fastblackout.heads import HEADS, head_named
from fastblackout.pretrained import names

torch.set_num_threads(1)
if importlib.util.find_spec("diffusers"):
    import diffusers

    import fastblackout.diffusers as fbd
    from fastblackout.diffusers import BlackoutNetwork, BlackoutPipeline, BlackoutScheduler, unet2d

needed = pytest.mark.skipif(
    not importlib.util.find_spec("diffusers"),
    reason="diffusers is not installed: pip install 'fastblackout[diffusers]'",
)
SCHEDULE, SHAPE = fb.Schedule.cosine(50), (2, 4, 4)
X = torch.from_numpy(np.random.default_rng(0).binomial(16, 0.3, (300, *SHAPE)).astype(np.uint8))


def model_of(head="beta-binomial", classes=3, **how):
    """With weights that say something."""
    noise = {"noise_channels": 1} if head_named(head).takes_noise else {}
    outputs = head_named(head).numbers_per_count(how.get("max_count", 16) or 16)[0]
    torch.manual_seed(1)
    network = fb.models.small(SHAPE, num_classes=classes, channels=4, outputs=outputs, dropout=0.5, **noise)
    given = {"max_count": 16, "input": "unit", **noise, **how}
    model = fb.BlackoutModel(network, SCHEDULE, head=head, **given)
    if model.needs_fit:
        model.fit_input(X)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def pipeline_of(model, **how):
    pipeline = BlackoutPipeline.from_model(model, SHAPE, **how)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def counts(pipeline, *given, **how):
    return pipeline(*given, output_type="counts", **how).images


@needed
@pytest.mark.parametrize("head", HEADS)
def test_a_pipeline_with_guidance_draws_what_sample_draws(head):
    model, labels, key = model_of(head), torch.tensor([0, 1, 2]), fb.Philox(3, first_sample=2)
    how = {"class_labels": [0, 1, 2], "num_inference_steps": 4, "generator": key}
    for guidance in (0.0, 2.0):
        drawn = counts(pipeline_of(model), guidance_scale=1 + guidance, **how)
        assert torch.equal(drawn, model.sample((3, *SHAPE), 4, rng=key, labels=labels, guidance=guidance))
    assert not torch.equal(drawn, model.sample((3, *SHAPE), 4, rng=key, labels=labels))
    pipeline = pipeline_of(model)
    assert not pipeline.unet.training
    pipeline.unet.train()  # a pipeline puts dropout off
    alone = counts(pipeline, 3, num_inference_steps=4, generator=5)
    assert torch.equal(alone, model.sample((3, *SHAPE), 4, rng=5))


@needed
@pytest.mark.parametrize(
    ("made", "how"),
    [
        ({"head": "mean"}, {"rounding": "nearest"}),
        ({"head": "mean", "parametrization": "paper"}, {}),
        ({}, {"last_step": "mean"}),
        ({"input": "log1p"}, {}),
        ({"input": "normalized"}, {}),
        ({"input": "normalized", "data_mean": 5.0, "data_std": 2.0}, {}),
        ({"head": "implicit", "input": "normalized"}, {}),
        ({"head": "negative-binomial", "max_count": None, "input": "log1p"}, {}),
    ],
)
def test_options_of_model_and_sampler_are_kept(made, how, tmp_path):
    """In the pipeline and in the folder that it is saved in."""
    model = model_of(**made)
    pipeline = pipeline_of(model, **how)
    expected = model.sample((2, *SHAPE), 5, rng=1, grid="early", **how)
    assert torch.equal(counts(pipeline, 2, num_inference_steps=5, generator=1, grid="early"), expected)
    pipeline.save_pretrained(tmp_path)
    again = BlackoutPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert torch.equal(counts(again, 2, num_inference_steps=5, generator=1, grid="early"), expected)


@needed
@pytest.mark.parametrize("name", names())
def test_models_of_the_package_are_folders_of_pipelines(name, tmp_path):
    run = fb.load_pretrained(name, device="cpu")
    pipeline = BlackoutPipeline.from_model(run.model, run.shape)
    pipeline.save_pretrained(tmp_path, metadata={"datasets": [name]})
    again = BlackoutPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    labels = None if name == "digits" else torch.tensor([3, 7])
    expected = run.model.sample((2, *run.shape), 3, rng=9, labels=labels)  # with times and guidance as tuned
    assert torch.equal(counts(again, 2, class_labels=labels, num_inference_steps=3, generator=9), expected)
    one, other = (torch.Generator().manual_seed(4) for _ in range(2))
    expected = run.model.sample((2, *run.shape), 3, generator=one, labels=labels)
    assert torch.equal(counts(again, 2, class_labels=labels, num_inference_steps=3, generator=other), expected)
    _, header, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    assert "library_name: fastblackout\n" in header and f"datasets:\n- {name}\n" in header
    assert f"1 x {run.shape[1]} x {run.shape[2]} counts" in text and repr(run.schedule) in text


@needed
def test_what_is_expected_of_the_end():
    model = model_of()
    scheduler = BlackoutScheduler.from_model(model)
    scheduler.set_timesteps(1)
    (t,), x = scheduler.timesteps, scheduler.initial_sample((2, *SHAPE))
    unet = BlackoutNetwork.from_model(model, SHAPE)
    output = unet(scheduler.scale_model_input(x, t), t, return_dict=False)[0].detach()
    prev, expected = scheduler.step(output, t, x, 3, return_dict=False)
    nothing = torch.zeros(1, dtype=torch.bool)
    assert torch.equal(expected, model.impute(x, nothing, steps=1, runs=1, rng=1))
    assert torch.equal(prev, scheduler.step(output, t, x, fb.Philox(3)).prev_sample)
    assert scheduler.step(output, t, x, predict=False).pred_original_sample is None
    generator = torch.Generator().manual_seed(1)
    one, other = (scheduler.step(output, t, x, generator).prev_sample for _ in range(2))
    again = scheduler.step(output, t, x, torch.Generator().manual_seed(1)).prev_sample
    assert torch.equal(one, again) and not torch.equal(one, other)


@needed
@pytest.mark.parametrize("head", [name for name in HEADS if name != "implicit"])
def test_the_loss_is_that_of_the_package(head):
    model, k = model_of(head, weight="instantaneous"), torch.tensor([1, 20, 37, 50])
    scheduler = BlackoutScheduler.from_model(model)
    noisy = scheduler.add_noise(X[:4], fb.Philox(2), k - 1)
    assert torch.equal(noisy, fb.thin(X[:4], SCHEDULE.survival(k), rng=fb.Philox(2)).x_t)
    output = model(scheduler.scale_model_input(noisy, k - 1), k)
    loss = scheduler.loss(output, X[:4], noisy, k - 1)
    assert torch.equal(loss, fb.loss(model, X[:4], rng=2, k=k))
    loss.sum().backward()
    assert all(parameter.grad is not None for parameter in model.network.parameters() if parameter.ndim > 1)


@needed
@pytest.mark.parametrize(
    ("shape", "head", "levels"),
    [((1, 28, 28), "mean", 3), ((3, 8, 12), "beta-binomial", 2), ((1, 5, 8), "implicit", 1)],
)
def test_a_unet_of_diffusers_is_a_network(shape, head, levels, tmp_path):
    noise = {"noise_channels": 2} if head == "implicit" else {}
    torch.manual_seed(0)
    network = unet2d(shape, head, max_count=16, classes=3, channels=32, layers=1, **noise)
    assert len(network.config.block_out_channels) == levels
    model = fb.BlackoutModel(network, SCHEDULE, 16, input="unit", head=head, **noise)
    x_0, labels = torch.randint(17, (2, *shape), dtype=torch.uint8), torch.tensor([2, 0])
    fb.loss(model, x_0, labels, rng=1).mean().backward()
    assert not network.conv_out.weight.any() and not network.conv_out.bias.any()
    assert network.conv_out.bias.grad.abs().max() > 0
    nn.init.normal_(network.conv_out.weight)
    pipeline_of(model).save_pretrained(tmp_path)
    again = BlackoutPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert type(again.unet) is diffusers.UNet2DModel
    drawn = counts(again, class_labels=labels, num_inference_steps=2, generator=1)
    assert torch.equal(drawn, model.sample((2, *shape), 2, rng=1, labels=labels))
    drawn = counts(again, class_labels=labels, guidance_scale=1.5, num_inference_steps=2, generator=1)
    assert torch.equal(drawn, model.sample((2, *shape), 2, rng=1, labels=labels, guidance=0.5))
    with pytest.raises(ValueError, match=r"^sample: labels: must be in 0\.\.3 \(3: no class\), got 4$"):
        model.sample((2, *shape), 2, rng=1, labels=4)


@needed
def test_images_are_shares_of_the_largest_count():
    run = fb.load_pretrained("digits", device="cpu")
    pipeline = BlackoutPipeline.from_model(run.model, run.shape)
    pipeline.set_progress_bar_config(disable=True)
    draw = partial(pipeline, 2, num_inference_steps=3, generator=1)
    shown = {each: draw(output_type=each).images for each in fbd.pipeline.OUTPUTS}
    assert shown["counts"].dtype == torch.uint8 and shown["counts"].max() > 8
    assert torch.equal(shown["pt"], shown["counts"] / 16)
    np.testing.assert_array_equal(shown["np"], shown["pt"].permute(0, 2, 3, 1))
    assert [image.size for image in shown["pil"]] == [(8, 8)] * 2
    np.testing.assert_array_equal(shown["pil"][1], np.rint(shown["np"][1, ..., 0] * 255))
    assert pipeline(num_inference_steps=3, return_dict=False, output_type="np")[0].shape == (1, 8, 8, 1)


@needed
def test_times_are_those_of_the_schedule_less_one():
    scheduler = BlackoutScheduler(max_count=16, num_train_timesteps=50)
    assert len(scheduler) == 50 and scheduler.timesteps.tolist() == [*range(49, -1, -1)]
    for grid in ("cosine", "early", "index"):
        scheduler.set_timesteps(7, grid=grid)
        assert (scheduler.timesteps + 1).tolist() == SCHEDULE.grid(7, grid, 16).tolist()[:-1]
    scheduler.set_timesteps(timesteps=torch.tensor([30, 10]))
    assert scheduler.plan.times == [31, 11, 0] and scheduler.num_inference_steps == 2
    again = BlackoutScheduler.from_config(scheduler.config, last_step="mean")
    assert again.schedule == SCHEDULE and again.config.last_step == "mean"


@needed
def test_the_hub_gets_the_folder_and_its_card(tmp_path, monkeypatch):
    """By a stand-in for the Hub, which keeps what it is given."""
    kept = {}

    class HfApi:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, exist_ok, private):
            return f"https://hub/{repo_id}"

        def upload_folder(self, repo_id, folder_path):
            paths = [path for path in folder_path.rglob("*") if path.is_file()]
            kept[repo_id] = {path.relative_to(folder_path).as_posix(): path.read_bytes() for path in paths}

    monkeypatch.setattr("huggingface_hub.HfApi", HfApi)
    pipeline = pipeline_of(model_of())
    assert pipeline.push_to_hub("me/model", {"license": "mit"}, private=True) == "https://hub/me/model"
    parts = ["scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    assert sorted(kept["me/model"]) == ["README.md", "model_index.json", *parts]
    assert b"license: mit\n" in kept["me/model"]["README.md"]
    with pytest.raises(ValueError, match="^BlackoutPipeline.save_pretrained: push_to_hub: must be False .*, got True"):
        pipeline.save_pretrained(tmp_path, push_to_hub=True)
    assert not any(tmp_path.iterdir())


WRONG = [
    ("fbd.BlackoutScheduler()", TypeError, "missing 1 required keyword-only argument: 'max_count'"),
    ("made(schedule='sine')", ValueError, "Scheduler: schedule: must be one of logit, cosine, linear"),
    ("made(schedule={'name': 'cosine', 'steps': 9})", ValueError, "num_train_timesteps: must be 9, .* 1000"),
    ("made(last_step='none')", ValueError, "Scheduler: last_step: must be one of draw, mean, got 'none'"),
    ("made(schedule=7)", TypeError, "Scheduler: schedule: must be a name or what Schedule.to_dict returned, got 7"),
    ("s.set_timesteps(51)", ValueError, "timesteps: num_inference_steps: must be in 1..50, got 51"),
    ("s.set_timesteps(5, timesteps=[3])", ValueError, "num_inference_steps: must be None beside timesteps, got 5"),
    ("s.set_timesteps(timesteps=[5, 3, 3])", ValueError, "timesteps: must decrease, and be at least one, got .5, 3, "),
    ("s.set_timesteps(timesteps=[50])", ValueError, "timesteps: must be in 0..49, got 50"),
    ("s.set_timesteps(timesteps=5)", TypeError, "timesteps: timesteps: must be a sequence of integers, got 5"),
    ("s.initial_sample(3)", TypeError, r"initial_sample: shape: must be \(batch, ...\) of integers at least 0, got 3"),
    ("fbd.RedrawScheduler(states=4).initial_sample(3)", TypeError, "RedrawScheduler.initial_sample: shape: .*, got 3"),
    ("s.add_noise(X[:2], torch.randn(2, 2, 4, 4), t)", TypeError, "noise: must be a torch.Generator, .*, got Tensor"),
    ("s.add_noise(X[:2].float(), 1, t)", TypeError, "add_noise: original_samples: must be .* counts, got torch.f"),
    ("s.add_noise(X[:3], 1, t)", ValueError, r"add_noise: timesteps: must have shape .3,., got .2,."),
    ("s.add_noise(X[:2], 1, t + 48)", ValueError, "add_noise: timesteps: must be in 0..49, got 50"),
    ("s.add_noise(X[:2], 1, t / 2)", TypeError, "add_noise: timesteps: must be an int or integer array, got"),
    ("s.step(X[:2].float(), 3, X[:2], guidance=-1)", ValueError, "guidance: must be a number of at least 0 or None"),
    ("s.set_timesteps(timesteps=[3.5])", TypeError, "timesteps: must be an integer, got 3.5"),
    ("s.scale_model_input(X[:2].float(), 3)", TypeError, "input: sample: must be .* counts, got torch.float32"),
    ("s.scale_model_input(t, 3)", TypeError, r"sample: must have shape \(B, C, ...\), got \(2,\)"),
    ("s.scale_model_input(X[:2], 50)", ValueError, "timestep: must be in 0..49, got 50"),
    ("s.step(X[:2], 3, X[:2], [1])", TypeError, "step: generator: must be .*, got list"),
    ("s.step(X[:2], 50, X[:2])", ValueError, "step: timestep: must be in 0..49, got 50"),
    ("s.step(X[:2, :1].float(), 3, X[:2])", ValueError, r"step: model_output: must have shape \(2, 2, 4, 4\) for head"),
    ("s.step(X[:2].float(), 3, X[:2], guidance=1.0)", ValueError, "unconditional_output: must be given with guidance"),
    ("s.step(X[:2] * 1.0, 3, X[:2], guidance=1.0, unconditional_output=3)", TypeError, "unconditional_output: must"),
    ("s.step(X[:2].float(), 3, X[:2].float())", TypeError, "step: sample: must be .* counts, got torch.float32"),
    ("s.loss(X[:2].float(), X[:2], X[:2] + 1, t)", ValueError, "noisy_samples: must be at most .*, 5, got 6"),
    ("s.loss(X[:2].float(), X[:2], X[:1], t)", ValueError, r"noisy_samples: must have the shape .* \(2, .* got \(1, "),
    ("i.loss(X[:2].float(), X[:2], X[:2], t)", ValueError, "loss: head: must need one output .*, got 'implicit'"),
    ("i.scale_model_input(X[:2], torch.tensor([3, 4]))", ValueError, r"must be one of timesteps, got \[3, 4\]"),
    ("p(output_type='jpg')", ValueError, "output_type: must be one of pil, np, pt, counts, got 'jpg'"),
    ("p()", ValueError, "output_type: must be np, pt or counts for 2 channels, got 'pil'"),
    ("p(0, output_type='np')", ValueError, "BlackoutPipeline: batch_size: must be in 1..2147483648, got 0"),
    ("p(2, [1], output_type='np')", ValueError, "class_labels: must be .* integers of shape .2,., got .1,."),
    ("p(1, 4, output_type='np')", ValueError, "labels: must be in 0..3 .3: no class., got 4"),
    ("p(guidance_scale=2.0, output_type='np')", ValueError, "guidance_scale: needs class_labels, got 2.0 without"),
    ("p(1, 1, 0.5, output_type='np')", ValueError, "guidance_scale: must be a number of at least 1, got 0.5"),
    ("p(generator='a', output_type='np')", TypeError, "generator: must be a torch.Generator, .*, got str"),
    ("fbd.unet2d((1, 8))", ValueError, r"unet2d: shape: must be \(C, H, W\), got \(1, 8\)"),
    ("fbd.unet2d(8)", ValueError, r"unet2d: shape: must be \(C, H, W\), got 8"),
    ("fbd.unet2d((1, 8, 8), noise_channels=-1)", ValueError, "unet2d: noise_channels: must be in 0.*, got -1"),
    ("fbd.BlackoutNetwork.from_model(foreign(), 8)", ValueError, r"from_model: shape: must be \(C, H, W\), got 8"),
    ("fbd.unet2d((1, 8, 8), channels=48)", ValueError, "unet2d: channels: must be a multiple of 32, got 48"),
    ("fbd.unet2d((1, 8, 8), head='median')", ValueError, "unet2d: head: must be"),
    ("fbd.BlackoutNetwork.from_model(foreign(), SHAPE)", ValueError, "model: must have a network of the package"),
]  # fmt: skip


@needed
@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_wrong_arguments_are_named(call, error, message):
    made = partial(BlackoutScheduler, max_count=16)
    names = {
        "made": made, "s": made(num_train_timesteps=50), "p": pipeline_of(model_of()),
        "i": made(num_train_timesteps=50, head="implicit", noise_channels=1), "X": X, "t": torch.tensor([1, 2]),
        "torch": torch, "SHAPE": SHAPE, "foreign": lambda: fb.BlackoutModel(nn.Identity(), SCHEDULE, 16), "fbd": fbd,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        eval(call, names)
