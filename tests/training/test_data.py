"""Data sets: what is read, how it is split and ordered, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from fastblackout.data import SETS, BatchOrder, NamedSet, flip_rows, load, load_folder, make_dataset, named
from fastblackout.data.files import shaped
from fastblackout.philox import Philox
from support.machine import a_pipe
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
    monkeypatch.setitem(SETS, "letters", NamedSet("named:load_idx", {}, fixed=("letters", "Letters")))
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


def test_a_cifar10_that_lacks_a_batch_is_fetched(tmp_path, monkeypatch):
    folder, batches = cifar_batches(tmp_path)
    last, fetched = (folder / "test_batch").read_bytes(), []
    monkeypatch.setattr(
        named, "_download", lambda *what: fetched.append(what) or (folder / "test_batch").write_bytes(last)
    )
    data = load("cifar10", tmp_path, download=True)
    assert data.train.shape == (20, 3, 32, 32) and not fetched
    assert np.array_equal(data.train[4:8].reshape(4, -1), batches["data_batch_2"])
    (folder / "test_batch").unlink()
    assert np.array_equal(load("cifar10", tmp_path, download=True).held_out.reshape(4, -1), batches["test_batch"])
    assert fetched == [("CIFAR10", tmp_path)]


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


PART_OF_FACE = [0, 0, 1, 2, 0, 2]


@pytest.fixture
def celeba(tmp_path):
    """Six smooth images of 178x218."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for n in range(len(PART_OF_FACE)):
        corners = np.random.default_rng(n).integers(0, 256, (3, 3, 3)).astype(np.uint8)
        Image.fromarray(corners).resize((178, 218)).save(folder / f"img_align_celeba/{n + 1:06d}.jpg")
    lines = [f"{n + 1:06d}.jpg {part}\n" for n, part in enumerate(PART_OF_FACE)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    return folder


def face(folder, n):
    with Image.open(folder / f"img_align_celeba/{n:06d}.jpg") as image:
        return np.moveaxis(np.array(image), -1, 0)


@pytest.mark.parametrize("crop", [None, 140, 148])
def test_celeba(celeba, crop):
    data = load("celeba64", celeba.parent, crop=crop)
    assert (data.train.shape, data.held_out.shape, data.max_count) == ((3, 3, 64, 64), (2, 3, 64, 64), 255)
    assert data.shaping == {"crop": crop or 140, "resize": 64} and data.classes is None
    side = crop or 140
    for got, n in zip((*data.train, *data.held_out), (1, 2, 5, 4, 6), strict=True):
        middle = face(celeba, n)[:, (218 - side) // 2 :, (178 - side) // 2 :][:, :side, :side]
        assert np.array_equal(got, shaped(middle, None, 64))
    assert load("celeba64", celeba.parent, resize=32, binarize=99).train.shape == (3, 3, 32, 32)


def test_what_celeba_refuses(celeba):
    partition, image = celeba / "list_eval_partition.txt", celeba / "img_align_celeba/000005.jpg"
    whole, jpeg = partition.read_bytes(), image.read_bytes()

    def refused_by(words, **options):
        refused([words], "celeba64", celeba.parent, **options)

    refused_by("crop: must be 140 or 148 for CelebA, got 150", crop=150)
    image.write_bytes(jpeg[: len(jpeg) // 2])
    refused_by("000005.jpg: not a readable image")
    Image.new("RGB", (100, 200)).save(image)
    refused_by("000005.jpg: crop: must be at most 100, the shorter side of an image of 200x100, got 140")
    Image.new("L", (178, 218)).save(image)
    refused_by("000005.jpg: every image must be RGB 64x64 like 000001.jpg once cut out and resized, got L 64x64")
    image.unlink()
    refused_by("line 5: no image '000005.jpg'")
    image.write_bytes(jpeg)
    for content, words in (
        (whole + b"000007.jpg 0\n", "line 7: no image '000007.jpg'"),
        (whole.replace(b"3.jpg 1", b"3.jpg 3"), "line 3: must be a name and 0, 1 or 2, got '000003.jpg 3'"),
        (whole.replace(b"3.jpg 1", b"3.jpg"), "line 3: must be a name and 0, 1 or 2"),
        (whole + b"../../../etc/passwd 0", "line 7: no image '../../../etc/passwd'"),
        (whole.replace(b" 2", b" 1"), "must list images of part 2 (test), got none"),
        (b"\xff\xfe\x00", "must be a text of names and parts"),
        (b"", "must list images of part 0 (training), got none"),
    ):
        partition.write_bytes(content)
        refused_by(words)
    partition.unlink()
    with a_pipe(partition, "000001.jpg 0"):
        refused_by("list_eval_partition.txt: must be a plain file")
    partition.unlink()
    refused_by(f"data: no list_eval_partition.txt in {celeba}")


def test_binarized_mnist(tmp_path):
    made = mnist_files(tmp_path)  # of 6x4 pixels, so 48x32 after resizing
    data = load("mnist-binary", tmp_path)
    assert (data.name, data.max_count, data.shape, data.classes) == ("mnist-binary", 1, (1, 48, 32), 10)
    assert data.shaping == {"resize": 32, "binarize": 128}
    assert np.array_equal(data.train[:, 0], shaped(made["train"][0].astype(np.uint8), None, 32) >= 128)
    plain = load("mnist-binary", tmp_path, resize=4)
    assert np.array_equal(plain.held_out[:, 0], made["t10k"][0] >= 128)


COUNTS, LABELS = np.arange(320).reshape(20, 1, 4, 4) % 7, np.arange(20) % 2
PARTS = {"held_out": COUNTS[:4], "max_count": 6}


def test_tensors_and_lists_of_labels():
    made = make_dataset("few", torch.from_numpy(COUNTS), LABELS.tolist(), max_count=np.int64(6))
    expected = make_dataset("few", COUNTS, LABELS, max_count=6)
    assert made.sha256 == expected.sha256 and made.train.dtype == np.uint8
    assert made.classes == 2 and type(made.max_count) is int


@pytest.mark.parametrize(
    ("kind", "words", "arguments", "options"),
    [
        (TypeError, "images: must be an array or a tensor of counts, got None", (None,), {"max_count": 6}),
        (TypeError, r"images: must be an array or a tensor of counts, got \[\[1\]\]", ([[1]],), {"max_count": 6}),
        (TypeError, "images: must be .* got 'held'", (COUNTS,), {"max_count": 6, "held_out": "held"}),
        (TypeError, "max_count: must be an integer, got 6.5", (COUNTS,), {"max_count": 6.5}),
        (ValueError, "max_count: must be in 1..9007199254740992 for int64", (COUNTS,), {"max_count": 0}),
        (ValueError, "images: must hold integer counts", (COUNTS / 7,), {"max_count": 6}),
        (ValueError, "images: must have shape", (COUNTS[0],), {"max_count": 6}),
        (ValueError, "images: counts must lie in 0..5, got 6", (COUNTS,), {"max_count": 5}),
        (ValueError, "labels: must be 20 integers", (COUNTS, LABELS[:3]), {"max_count": 6}),
        (ValueError, "held-out labels: must be left out", (COUNTS,), {"max_count": 6, "held_out_labels": LABELS}),
        (ValueError, "labels: .* got no held-out ones", (COUNTS, LABELS), PARTS),
        (ValueError, "labels: .* got no training ones", (COUNTS,), {**PARTS, "held_out_labels": LABELS[:4]}),
    ],
)  # fmt: skip
def test_wrong_counts_in_memory(kind, words, arguments, options):
    with pytest.raises(kind, match=f"^few: {words}"):
        make_dataset("few", *arguments, **options)


def test_linked_folders(tmp_path):
    """As in ImageFolder of torchvision. A link back to a folder above is not followed round and round."""
    for name in ("cats", "elsewhere/dogs"):
        (tmp_path / name).mkdir(parents=True)
        for n in range(6):
            Image.new("L", (4, 4), n + 10 * len(name)).save(tmp_path / name / f"{n}.png")
    (tmp_path / "images").mkdir()
    for name, target in (("cats", "cats"), ("dogs", "elsewhere/dogs"), ("back", "images"), ("gone.png", "nothing")):
        (tmp_path / "images" / name).symlink_to(tmp_path / target)
    data = load_folder(tmp_path / "images")
    assert len(data.train) + len(data.held_out) == 12 and data.classes == 2
    assert sorted({int(x.flat[0]) // 10 for x in data.train}) == [4, 14]


def test_shapes_of_a_folder(tmp_path):
    with pytest.raises(TypeError, match="load: resize: must be an integer, got 4.5"):
        load_folder(tmp_path, resize=4.5)
