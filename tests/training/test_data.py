"""Data sets: what is read, how it is split and ordered, and what is refused."""

import pickle

import numpy as np
import pytest
from PIL import Image

from fastblackout.data import SETS, BatchOrder, DataSet, flip_rows, load, named
from fastblackout.philox import Philox
from support.mnist import mnist_files


def refused(words, *arguments, **options):
    with pytest.raises(ValueError) as error:
        load(*arguments, **options)
    text = str(error.value)
    assert text.startswith("load: ") or text.split(":")[0] in ("array", "cifar10", "mnist")
    assert "\n" not in text
    for word in words:
        assert str(word) in text


def test_digits():
    from sklearn.datasets import load_digits

    data = load("digits")
    assert (data.train.shape, data.held_out.shape) == ((1500, 1, 8, 8), (297, 1, 8, 8))
    assert (data.max_count, data.classes, data.train.dtype) == (16, 10, np.uint8)
    both = np.concatenate([data.train, data.held_out]).reshape(-1, 64)
    original = load_digits().images.reshape(-1, 64)
    assert np.array_equal(both[np.lexsort(both.T)], original[np.lexsort(original.T)])  # the same images, each once
    assert np.array_equal(load("digits").train, data.train)
    assert np.bincount(data.held_out_labels).min() > 10  # a shuffle, not the tail of the file


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path, suffix):
    made = mnist_files(tmp_path, suffix)
    data = load("mnist", tmp_path)
    assert np.array_equal(data.train[:, 0], made["train"][0])
    assert np.array_equal(data.held_out_labels, made["t10k"][1])
    assert (data.max_count, data.shape) == (255, (1, 6, 4))


def test_a_set_of_idx_files_is_a_line(tmp_path, monkeypatch):
    made = mnist_files(tmp_path, "")
    (tmp_path / "MNIST").rename(tmp_path / "Letters")
    monkeypatch.setitem(SETS, "letters", DataSet("named:load_idx", {}, fixed=("letters", "Letters")))
    assert np.array_equal(load("letters", tmp_path).held_out_labels, made["t10k"][1])
    refused(
        ["download: belongs to mnist, fashion-mnist, mnist-binary, cifar10 and letters"],
        "folder",
        tmp_path,
        download=True,
    )


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_files(tmp_path, suffix):
    mnist_files(tmp_path, suffix)
    file = tmp_path / "MNIST/raw" / f"train-images-idx3-ubyte{suffix}"
    whole = file.read_bytes()
    for content in (whole[:-9], whole[:3], b"", b"\0\0\x0d\x01" + whole[4:], b"hello there, this is text"):
        file.write_bytes(content)
        refused([file.name], "mnist", tmp_path)
    file.unlink()
    refused(["train-images", "--download"], "mnist", tmp_path)


def test_a_download_that_fails_says_why(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision")

    def offline(*arguments, **more):
        reason = "Tried https://a.example/, got:\n<urlopen error [Errno -3] Temporary failure in name resolution>\n"
        raise RuntimeError(f"Error downloading train-images-idx3-ubyte.gz:\n{reason}")

    monkeypatch.setattr(torchvision.datasets, "MNIST", offline)
    with pytest.raises(
        ValueError, match=r"could not fetch MNIST: Error down.*: Tried .*failure in name resolution"
    ) as error:
        load("mnist", tmp_path, download=True)
    assert "\n" not in str(error.value)


def cifar_batches(root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(1)
    batches = {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        batches[name] = rng.integers(0, 256, (4, 3072)).astype(np.uint8)
        content = {b"data": batches[name], b"labels": [9, 0, 1, 2], b"batch_label": b"x"}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder, batches


def test_cifar10_pickles(tmp_path):
    _, batches = cifar_batches(tmp_path)
    data = load("cifar10", tmp_path)
    assert data.train.shape == (20, 3, 32, 32)
    assert np.array_equal(data.train[4:8].reshape(4, -1), batches["data_batch_2"])
    assert np.array_equal(data.held_out.reshape(4, -1), batches["test_batch"])


def test_a_cifar10_that_lacks_a_batch_is_fetched(tmp_path, monkeypatch):
    folder, batches = cifar_batches(tmp_path)
    last, fetched = (folder / "test_batch").read_bytes(), []
    monkeypatch.setattr(
        named, "_download", lambda *what: fetched.append(what) or (folder / "test_batch").write_bytes(last)
    )
    assert load("cifar10", tmp_path, download=True) and not fetched
    (folder / "test_batch").unlink()
    assert np.array_equal(load("cifar10", tmp_path, download=True).held_out.reshape(4, -1), batches["test_batch"])
    assert fetched == [("CIFAR10", tmp_path)]


class _Evil:
    def __reduce__(self):
        import os

        return os.mkdir, ("harmed",)


def test_cifar10_pickles_run_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _ = cifar_batches(tmp_path)
    (folder / "data_batch_3").write_bytes(pickle.dumps({b"data": _Evil()}))
    refused(["data_batch_3", "refused"], "cifar10", tmp_path)
    assert not (tmp_path / "harmed").exists()
    for content in (b"", pickle.dumps({b"data": [1], b"labels": [1]})):
        (folder / "data_batch_3").write_bytes(content)
        refused(["data_batch_3"], "cifar10", tmp_path)


def test_cifar10_npz(tmp_path):
    rng = np.random.default_rng(2)
    arrays = {
        "train_images": rng.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8),
        "train_labels": np.arange(6),
        "test_images": rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8),
        "test_labels": np.array([1, 0]),
    }
    np.savez(tmp_path / "cifar10.npz", **arrays)
    data = load("cifar10", tmp_path)
    assert np.array_equal(data.train[3, 2], arrays["train_images"][3, :, :, 2])
    del arrays["test_labels"]
    np.savez(tmp_path / "cifar10.npz", **arrays)
    refused(["test_labels"], "cifar10", tmp_path)
    refused(["cifar10.npz", "--download"], "cifar10", tmp_path / "elsewhere")


def image(path, size=(5, 4), mode="L", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_folder(tmp_path):
    grey = [image(tmp_path / "grey" / f"{i:02d}.png", seed=i) for i in range(20)]
    (tmp_path / "grey" / "notes.txt").write_text("no image")
    for hidden in ("._00.png", ".unfinished-1/00.png", ".ipynb_checkpoints/00.png"):
        image(tmp_path / "grey" / hidden, seed=99)
    data = load("folder", tmp_path / "grey")
    assert (data.train.shape, data.held_out.shape, data.max_count) == ((18, 1, 4, 5), (2, 1, 4, 5), 255)
    assert {part.tobytes() for part in (*data.train, *data.held_out)} == {part.tobytes() for part in grey}
    colour = [image(tmp_path / "colour" / f"sub{i % 2}" / f"{i}.png", mode="RGB", seed=i) for i in range(3)]
    assert load("folder", tmp_path / "colour").shape == (3, 4, 5)
    assert colour[0].shape == (4, 5, 3)


def test_bad_folders(tmp_path):
    refused(["folder of images", "nowhere"], "folder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refused(["no image", "empty"], "folder", tmp_path / "empty")
    for name, size, mode in (("size", (6, 4), "L"), ("mode", (5, 4), "RGB")):
        for i in range(3):
            image(tmp_path / name / f"{i}.png")
        image(tmp_path / name / "b.png", size, mode)
        refused(["b.png", f"{mode} {size[0]}x4", "L 5x4"], "folder", tmp_path / name)
    image(tmp_path / "cut" / "0.png")
    whole = (tmp_path / "cut" / "0.png").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-25], b"", b"not an image"):
        (tmp_path / "cut" / "1.png").write_bytes(content)
        refused(["1.png", "not a readable image"], "folder", tmp_path / "cut")
    (tmp_path / "palette").mkdir()
    Image.new("P", (4, 4)).save(tmp_path / "palette" / "a.png")
    refused(["a.png", "L or RGB", "P"], "folder", tmp_path / "palette")


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((20, 7, 5), None, (1, 7, 5)),
        ((20, 2, 7, 5), None, (2, 7, 5)),
        ((20, 7, 5, 2), None, (2, 7, 5)),
        ((20, 3, 5, 3), "first", (3, 5, 3)),
        ((20, 9, 8, 7), "last", (7, 9, 8)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_array(tmp_path, shape, channels, expected, dtype):
    counts = np.random.default_rng(3).integers(0, 40, shape).astype(dtype)
    counts.flat[0] = 40
    np.save(tmp_path / "a.npy", counts)
    data = load("array", tmp_path / "a.npy", channels=channels)
    assert (data.shape, data.max_count, len(data.train), len(data.held_out)) == (expected, 40, 18, 2)
    assert int(data.train.sum(dtype=np.int64) + data.held_out.sum(dtype=np.int64)) == int(counts.sum(dtype=np.int64))
    assert load("array", tmp_path / "a.npy", max_count=1000, channels=channels).train.dtype == np.int16


def test_npz_keys(tmp_path):
    counts, labels = np.arange(640).reshape(20, 8, 4), np.arange(20) % 2
    file = tmp_path / "a.npz"
    np.savez(file, images=counts, labels=labels)
    data = load("array", file)
    assert data.classes == 2
    assert np.array_equal(data.train_labels, labels[data.train[:, 0, 0, 0] // 32])  # labels stay with their images
    np.savez(file, train_images=counts[:15], test_images=counts[15:])
    data = load("array", file)
    assert np.array_equal(data.held_out[:, 0], counts[15:])
    assert data.classes is None
    np.savez(file, anything=counts)
    assert load("array", file).shape == (1, 8, 4)
    np.savez(file, a=counts, b=counts)
    refused(["images", "a, b"], "array", file)


def test_bad_arrays(tmp_path):
    file = tmp_path / "a.npy"
    good = np.arange(640).reshape(20, 8, 4)

    def saved(array):
        np.save(file, array)
        return "array", file

    refused(["floats must be whole numbers"], *saved(good / 2))
    refused(["bool"], *saved(good > 3))
    refused(["0..638", "-1"], *saved(good - 1))
    refused(["(640,)"], *saved(good.reshape(640)))
    refused(["(0, 8, 4)"], *saved(good[:0]))
    refused(["at least 2"], *saved(good[:1]))
    refused(["first or last", "(20, 2, 4, 4)"], *saved(good.reshape(20, 2, 4, 4)))
    refused(["first or last", "(1, 20, 8, 5)"], *saved(good[None].repeat(5, 3)[..., :5]))
    refused(["0..100", "639"], *saved(good), max_count=100)
    refused(["max_count", "1..9007199254740992"], *saved(good), max_count=0)
    refused(["plain array"], *saved(np.array([{}], dtype=object)))
    np.save(file, good)
    whole = file.read_bytes()
    for content in (whole[:-5], whole[:20], b"", b"text"):
        file.write_bytes(content)
        refused(["a.npy", "not a readable"], "array", file)
    packed = tmp_path / "a.npz"
    np.savez_compressed(packed, images=good)
    whole = packed.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:middle] + b"?" + whole[middle + 1 :], b"", b"text"):
        packed.write_bytes(content)
        refused(["a.npz", "not a readable"], "array", packed)
    np.savez(packed, images=good, labels=np.arange(3))
    refused(["labels", "20"], "array", packed)
    refused([".npy, .npz or .tif"], "array", tmp_path)


def test_wrong_arguments(tmp_path):
    refused(["name", "digits, mnist"], "imagenet")
    refused(["mnist", "path"], "mnist")
    refused(["max_count"], "mnist", tmp_path, max_count=3)
    refused(["download"], "folder", tmp_path, download=True)
    refused(["digits"], "digits", tmp_path)


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (10, 10), (7, 25), (1, 1)])
def test_every_epoch_shows_each_sample_once(count, batch):
    order = BatchOrder(count, batch, rng=5)
    steps = 3 * count
    sequence = np.concatenate([order.indices(step) for step in range(steps)])
    epochs = sequence[: len(sequence) // count * count].reshape(-1, count)
    assert np.array_equal(np.sort(epochs, axis=1), np.broadcast_to(np.arange(count), epochs.shape))
    assert order.epochs_done(steps) == 3 * batch
    assert np.array_equal(BatchOrder(count, batch, rng=5).indices(steps - 1), sequence[-batch:])  # from any step
    if count > 5:
        assert not np.array_equal(epochs[0], epochs[1])
        assert not np.array_equal(epochs[0], BatchOrder(count, count, rng=6).indices(0))


def test_order_is_uniform():
    """Chi-square of the first of 10 samples over 2,000 seeds; the seeds are fixed, else 5e-7 would be false alarms."""
    first = np.bincount([BatchOrder(10, 1, rng=s).indices(0)[0] for s in range(2000)], minlength=10)
    assert ((first - 200) ** 2 / 200).sum() < 46.4  # scipy.stats.chi2.isf(5e-7, 9)


def test_flips_are_keyed_and_fair():
    assert np.array_equal(flip_rows(100, Philox(3), 7), flip_rows(100, 3, 7))
    flips = np.stack([flip_rows(100, rng=3, step=step) for step in range(100)])
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / 100  # five standard errors
    assert np.array_equal(flips[7], flip_rows(100, 3, 7))
    assert np.array_equal(flips[7, :10], flip_rows(10, 3, 7))
    assert not np.array_equal(flips[7], flips[8])
