"""Training on a card: no step waits for it, and a CUDA graph of the step takes the same steps.

Without a card support/device_training.py says as much of a device that pretends. FASTBLACKOUT_GPU=dry runs this on the
CPU, to see that it runs.
"""

import contextlib
import dataclasses
import os

import pytest
import torch

from fastblackout.heads import HEADS
from fastblackout.training import batches, execution
from fastblackout.training.checkpoint import load_checkpoint
from fastblackout.training.config import preset
from fastblackout.training.run import train
from fastblackout.training.trainer import Trainer
from support.device_training import few

DRY = os.environ.get("FASTBLACKOUT_GPU") == "dry"
if not torch.cuda.is_available() and not DRY:
    pytest.skip("torch sees no GPU; support/device_training.py pretends one", allow_module_level=True)

GPU = torch.device("cpu") if DRY else torch.device("cuda", 0)
OPTIONS = {"batch": 4, "channels": 8, "schedule_steps": 20, "warmup": 8, "flip": True, "conditional": True}


@contextlib.contextmanager
def no_waits():
    before = 0 if DRY else torch.cuda.get_sync_debug_mode()
    try:
        if not DRY:
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        if not DRY:
            torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("share", [1.0, 0.0])
@pytest.mark.parametrize("head", HEADS)
def test_no_step_waits(head, share, monkeypatch):
    monkeypatch.setattr(batches, "RESIDENT_SHARE", share)
    trainer = Trainer(preset("digits", head=head, compile="off", **OPTIONS), few(), {}, GPU)
    trainer.train_step()  # libraries start, and tables of the device are made
    with no_waits():
        losses = [trainer.train_step() for _ in range(3)]
    assert torch.isfinite(torch.stack(losses)).all()


@pytest.mark.skipif(DRY, reason="the CPU has no CUDA graphs")
@pytest.mark.parametrize("head", ["mean", "implicit", "beta-binomial"])
def test_a_graph_of_the_step(head):
    """To rounding: the network's library may choose other algorithms in a graph."""
    config = preset("digits", head=head, compile="off", precision="fp32", dropout=0.3, **OPTIONS)
    plain = Trainer(config, few(), {}, GPU)
    graphed = Trainer(dataclasses.replace(config, cuda_graph=True), few(), {}, GPU)
    for _ in range(execution.EAGER_STEPS + 4):
        one, other = plain.train_step(), graphed.train_step()
        assert torch.allclose(one, other, rtol=1e-3), (one, other)
    assert graphed.graph._graph is not None


@pytest.mark.parametrize("options", [{}, {"cuda_graph": True, "compile": "off"}, {"precision": "tf32"}])
def test_a_run_goes_on(options, tmp_path):
    """As users start it: compiled and in bf16, or by a graph; a resumed run takes up weights and optimizer."""
    options = {} if DRY else options
    config = preset(
        "digits", steps=6, checkpoint_every=3, log_every=2, decay=False, device=str(GPU), **OPTIONS, **options
    )
    train(few(), tmp_path / "run", config, progress=False)
    train(few(), tmp_path / "run", dataclasses.replace(config, steps=9), resume=True, progress=False)
    assert load_checkpoint(tmp_path / "run").step == 9
