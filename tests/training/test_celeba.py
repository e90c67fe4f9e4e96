"""CelebA from small JPEG files in torchvision's layout, and binarized MNIST: what is read, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from fastblackout.data import load
from fastblackout.data.files import shaped
from support.machine import a_pipe
from support.mnist import mnist_files

PARTS = [0, 0, 1, 2, 0, 2]


@pytest.fixture
def celeba(tmp_path):
    """Six smooth images of 178x218."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for n in range(len(PARTS)):
        corners = np.random.default_rng(n).integers(0, 256, (3, 3, 3)).astype(np.uint8)
        Image.fromarray(corners).resize((178, 218)).save(folder / f"img_align_celeba/{n + 1:06d}.jpg")
    lines = [f"{n + 1:06d}.jpg {part}\n" for n, part in enumerate(PARTS)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    return folder


def pixels(folder, n):
    with Image.open(folder / f"img_align_celeba/{n:06d}.jpg") as image:
        return np.moveaxis(np.array(image), -1, 0)


@pytest.mark.parametrize("crop", [None, 140, 148])
def test_celeba(celeba, crop):
    data = load("celeba64", celeba.parent, crop=crop)
    assert (data.train.shape, data.held_out.shape, data.max_count) == ((3, 3, 64, 64), (2, 3, 64, 64), 255)
    assert data.shaping == {"crop": crop or 140, "resize": 64} and data.classes is None
    side = crop or 140
    for got, n in zip((*data.train, *data.held_out), (1, 2, 5, 4, 6), strict=True):
        middle = pixels(celeba, n)[:, (218 - side) // 2 :, (178 - side) // 2 :][:, :side, :side]
        assert np.array_equal(got, shaped(middle, None, 64))
    assert load("celeba64", celeba.parent, resize=32, binarize=99).train.shape == (3, 3, 32, 32)


def test_what_celeba_refuses(celeba):
    partition, image = celeba / "list_eval_partition.txt", celeba / "img_align_celeba/000005.jpg"
    whole, jpeg = partition.read_bytes(), image.read_bytes()

    def refused(words, **options):
        with pytest.raises(ValueError, match="^load: ") as error:
            load("celeba64", celeba.parent, **options)
        assert words in str(error.value) and "\n" not in str(error.value)

    refused("crop: must be 140 or 148 for CelebA, got 150", crop=150)
    for content, words in (
        (jpeg[: len(jpeg) // 2], "000005.jpg: not a readable image"),
        (b"", "000005.jpg: not a readable image"),
    ):
        image.write_bytes(content)
        refused(words)
    Image.new("RGB", (100, 200)).save(image)
    refused("000005.jpg: crop: must be at most 100, the shorter side of an image of 200x100, got 140")
    Image.new("L", (178, 218)).save(image)
    refused("000005.jpg: every image must be RGB 64x64 like 000001.jpg once cut out and resized, got L 64x64")
    image.unlink()
    refused("line 5: no image '000005.jpg'")
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
        refused(words)
    partition.unlink()
    with a_pipe(partition, "000001.jpg 0"):
        refused("list_eval_partition.txt: must be a plain file")
    partition.unlink()
    refused(f"data: no list_eval_partition.txt in {celeba}")


def test_binarized_mnist(tmp_path):
    made = mnist_files(tmp_path)  # of 6x4 pixels, so 48x32 after resizing
    data = load("mnist-binary", tmp_path)
    assert (data.name, data.max_count, data.shape, data.classes) == ("mnist-binary", 1, (1, 48, 32), 10)
    assert data.shaping == {"resize": 32, "binarize": 128}
    assert np.array_equal(data.train[:, 0], shaped(made["train"][0].astype(np.uint8), None, 32) >= 128)
    plain = load("mnist-binary", tmp_path, resize=4)
    assert np.array_equal(plain.held_out[:, 0], made["t10k"][0] >= 128)
