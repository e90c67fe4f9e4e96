"""Tables of counts: how they are read, the network for them, and the way from training to figures about rows."""

import json

import numpy as np
import pytest
import torch

from fastblackout.cli import main
from fastblackout.data import Dataset, load, make_dataset
from fastblackout.evaluation.samples import compare, rows_table
from fastblackout.models import NetworkConfig, ResidualMLP
from fastblackout.training.config import TrainConfig
from fastblackout.training.trained_model import make_model


def rows(count, columns=5, seed=0):
    """Rows whose columns have means 1, 2, 4, ... and vary together."""
    rng = np.random.default_rng(seed)
    rate = 2.0 ** np.arange(columns) * rng.gamma(2, 0.5, (count, 1))
    return rng.poisson(rate).astype(np.int32)


def test_a_table_is_read_as_rows(tmp_path):
    counts, labels = rows(40), np.arange(40) % 3
    np.save(tmp_path / "a.npy", counts)
    data = load("array", tmp_path / "a.npy")
    assert data.is_table and data.shape == (5, 1, 1) and data.max_count == counts.max()
    together = np.concatenate([data.train, data.held_out]).reshape(40, 5)
    assert sorted(map(tuple, together)) == sorted(map(tuple, counts))
    np.savez(tmp_path / "a.npz", counts=counts, labels=labels)  # as `fastblackout sample` writes it
    assert load("array", tmp_path / "a.npz").classes == 3
    np.savez(tmp_path / "a.npz", train_counts=counts[:30], test_counts=counts[30:])
    assert np.array_equal(load("array", tmp_path / "a.npz").held_out[:, :, 0, 0], counts[30:])
    made = load("array", tmp_path / "a.npy", binarize=2)
    assert np.array_equal(made.train, data.train >= 2)
    with pytest.raises(ValueError, match="load: crop, resize: need images, got a table of 5 columns"):
        load("array", tmp_path / "a.npy", crop=1)
    assert not load("digits").is_table


@pytest.mark.parametrize("classes", [None, 3])
def test_the_network(classes):
    torch.manual_seed(0)
    given = {"shape": (6, 1, 1), "num_classes": classes, "noise_channels": 2, "outputs": 2}
    network = NetworkConfig("mlp", given).build()
    assert isinstance(network, ResidualMLP)
    assert sum(p.numel() for p in ResidualMLP((9, 1, 1)).parameters()) == 183_552 + 9 * 257
    x, time = torch.randn(4, 8, 1, 1), torch.tensor([0, 1, 500, 999])
    labels = None if classes is None else torch.tensor([0, 1, 2, 3])
    assert network(x, time, labels).abs().max() < 1e-3  # nothing is known before training
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    out = network.eval()(x, time, labels)
    assert out.shape == (4, 12, 1, 1) and out.dtype == torch.float32

    def alone(x, time, labels=None):
        return network(x[1:2], time[1:2], None if labels is None else labels[1:2])

    torch.testing.assert_close(alone(x, time, labels), out[1:2])
    assert not torch.allclose(alone(x, time + 7, labels), out[1:2])  # it sees the time,
    x[1, 5] += 1
    assert (alone(x, time, labels) != out[1:2]).all()  # and each output every column
    if classes is not None:
        assert not torch.allclose(network(x, time), network(x, time, labels))
        assert torch.equal(network(x, time)[3:], network(x, time, labels)[3:])  # label 3: no class
    copy = NetworkConfig.from_dict(json.loads(json.dumps(network.config.to_dict()))).build()
    copy.load_state_dict(network.state_dict())
    assert torch.equal(copy.eval()(x, time, labels), network(x, time, labels))


def test_what_the_network_refuses():
    for kwargs, words in (
        ({"shape": (6, 1)}, r"mlp: shape: must be one argument \(C, H, W\) of integers, C at .*, got \(6, 1\)"),
        ({"shape": (6, 1, 1), "blocks": 0}, "mlp: blocks: must be an integer of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            ResidualMLP(**kwargs)
    network, x, time = ResidualMLP((6, 1, 1)), torch.zeros(2, 6, 1, 1), torch.zeros(2, dtype=torch.int64)
    for arguments, words in (
        ((x[:, :5], time), r"mlp: x: must have shape \('B', 6, 1, 1\), got \(2, 5, 1, 1\)"),
        ((x, time[:1]), r"mlp: time: must have shape \(2,\), got \(1,\)"),
        ((x, time, time), r"mlp: labels: must be None for a network without classes, got \[0, 0\]"),
    ):
        with pytest.raises(ValueError, match=words):
            network(*arguments)
    with pytest.raises(ValueError, match=r"mlp: labels: must be in 0..3 \(3: no class\), got 4"):
        ResidualMLP((6, 1, 1), num_classes=3)(x, time, time + 4)
    table = Dataset("array", rows(9)[:, :, None, None], rows(3)[:, :, None, None], max_count=99)
    with pytest.raises(ValueError, match="train: network: must be mlp for a table of counts, got small"):
        make_model(TrainConfig(), table)
    images = load("digits")
    assert make_model(TrainConfig(network="mlp", channels=8), images).network.out_shape == (1, 8, 8)


def test_figures_about_rows():
    """By hand from NumPy's own mean, var and corrcoef; a constant column counts in the zeros alone."""
    train, held_out, drawn = (rows(n, seed=s).astype(np.int64) for n, s in ((400, 1), (60, 2), (100, 3)))
    train[:, 2] = 7
    table = Dataset("array", train[:, :, None, None], held_out[:, :, None, None], max_count=1000)
    result = compare([drawn[:, :, None, None]] * 2, table)
    left = [0, 1, 3, 4]
    pairs = np.triu_indices(4, 1)
    as_many = drawn[np.arange(60) * 100 // 60]
    for name, some in (("samples", drawn), ("held_out", held_out), ("samples_as_many", as_many)):
        found = result[f"difference_{name}"]
        std = train.std(0, ddof=1)[left]
        means = (some.mean(0)[left] - train.mean(0)[left]) / std
        ratios = np.log(some.var(0, ddof=1)[left] / std**2)
        corr = np.corrcoef(some[:, left].T)[pairs] - np.corrcoef(train[:, left].T)[pairs]
        zeros = (some == 0).mean(0) - (train == 0).mean(0)
        for key, values in (("means", means), ("variances", ratios), ("correlations", corr), ("zeros", zeros)):
            assert found[key] == pytest.approx(np.sqrt((values**2).mean()), rel=1e-10)
    assert (result["sets"], result["as_many"], result["constant_columns"]) == (2, 60, 1)
    assert set(result["spread"].values()) == {0.0}
    assert result["mean_train"] == pytest.approx(train.mean(0))
    assert result["variance_samples"] == pytest.approx(drawn.var(0, ddof=1))
    text = rows_table(result)
    assert max(map(len, text.splitlines())) <= 80
    assert f"correlations of pairs of columns {result['difference_samples']['correlations']:18.3f}" in text
    with pytest.raises(ValueError, match="compare: samples: need 2 or more of shape"):
        compare(drawn[:, 1:], table)
    wide = Dataset("array", np.tile(table.train, (1, 9, 1, 1)), np.tile(table.held_out[:1], (1, 9, 1, 1)), 1000)
    text = rows_table(compare(np.tile(drawn[:, :, None, None], (1, 9, 1, 1)), wide))
    assert "the first 12 columns" in text and "nan" in text  # of a single held-out row


@pytest.mark.parametrize("shape", [(5,), (1, 5, 5)])
def test_samples_and_data_of_any_kind_have_one_result(shape, tmp_path):
    random = np.random.default_rng(0)
    drawn, given = random.poisson(5.0, (60, *shape)), random.poisson(5.0, (100, *shape))
    four_drawn, four_given = (each.reshape(len(each), *(*shape, 1, 1)[:3]) for each in (drawn, given))
    wanted = compare(four_drawn, make_dataset("array", four_given, max_count=int(given.max())))
    np.save(tmp_path / "drawn.npy", drawn)
    np.savez(tmp_path / "drawn.npz", **{"counts" if len(shape) == 1 else "images": drawn})
    np.save(tmp_path / "given.npy", given)
    assert wanted["held_out"] == 10
    for samples in (drawn, four_drawn, torch.from_numpy(drawn), drawn.astype(np.float32),
                    tmp_path / "drawn.npy", str(tmp_path / "drawn.npz")):  # fmt: skip
        assert compare(samples, given) == wanted
    for data in (four_given, torch.from_numpy(given), given.astype(np.float64), tmp_path / "given.npy"):
        assert compare([drawn], data) == wanted
    for samples, data, error, rule in (
        (drawn, 3, TypeError, "dataset: must be an array or a tensor of counts, an AnnData or a path, got int"),
        (drawn, given - 20, ValueError, "dataset: must be counts, whole numbers of at least 0, got -"),
        (drawn, given[0], ValueError, "dataset: must have shape"),
        (drawn, given[:2], ValueError, "dataset: must have 2 or more beside those held out, got 1"),
        (tmp_path / "none.npy", given, ValueError, "samples: must be a .npy, .npz or .tif file, got"),
    ):
        with pytest.raises(error, match=f"^compare: {rule}"):
            compare(samples, data)


def test_the_whole_way(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    np.savez("t.npz", counts=rows(300), labels=np.arange(300) % 2)
    train = ["train", "array", "--data=t.npz", "--steps=4", "--batch=8", "--channels=4", "--threads=1", "--quiet"]
    assert main([*train, "--conditional", "--sample-every=2"]) == 0
    assert main([*train, "--resume"]) == 0
    (file,) = tmp_path.glob("runs/array/checkpoints/step-00000004/config.json")
    config = json.loads(file.read_text())["config"]
    assert config["model"]["network"]["name"] == "mlp" and config["dataset"]["shape"] == [5, 1, 1]
    assert (config["train"]["head"], config["train"]["weight"], config["train"]["input"]) == (
        "beta-binomial", "uniform", "normalized",
    )  # fmt: skip
    assert not list(tmp_path.glob("runs/array/samples*"))  # rows are no pictures
    assert main(["sample", "--num=9", "--steps=4", "--threads=1", "--quiet"]) == 0
    with np.load("runs/array/samples.npz") as drawn:
        assert drawn["counts"].shape == (9, 5) and drawn["labels"].tolist() == [0, 1] * 4 + [0]
        assert drawn["counts"].max() <= rows(300).max()
    assert sorted(path.name for path in tmp_path.glob("runs/array/samples*")) == ["samples.npz"]
    assert load("array", "runs/array/samples.npz").classes == 2
    capsys.readouterr()
    how = ["--num=20", "--steps=4", "--seeds=2", "--bits=2", "--threads=1", "--quiet", "--json=numbers.json"]
    assert main(["evaluate", *how]) == 0
    out = capsys.readouterr().out
    assert "Difference to the training rows" in out and "Bits per dimension of 2 held-out rows" in out
    assert "Frechet" not in out
    assert json.loads((tmp_path / "numbers.json").read_text())["columns"] == 5
    assert main([*train, "--out=images", "--network=small"]) == 1
    assert "network: must be mlp for a table of counts, got small" in capsys.readouterr().err
    assert not (tmp_path / "images").exists()
