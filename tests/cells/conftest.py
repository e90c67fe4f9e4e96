"""What the tests of the cell model share."""

import pytest
import torch


@pytest.fixture
def few_draws(monkeypatch):
    """Short looks at the held-out cells of a training, for tests that do not ask how good it is."""
    monkeypatch.setattr("fastblackout.cells.training.FEWEST_DRAWS", 64)


@pytest.fixture(scope="package")
def tiny():
    """A model with every option, hardly trained."""
    pytest.importorskip("sklearn")
    from fastblackout.cells import CellModel
    from support.simulated_cells import simulated

    torch.set_num_threads(1)
    how = {"steps": 12, "batch_size": 32, "width": 16, "blocks": 1}
    told = CellModel("type", "batch", size_factor_key="depth", covariates=["age"], genes="chosen", **how)
    data = simulated(80)
    data.var["chosen"] = data.var["chosen"].astype("boolean")  # as anndata reads it from a file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastblackout.cells.training.FEWEST_DRAWS", 64)
        return told.fit(data, progress=False)
