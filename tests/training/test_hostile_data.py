"""Data files that lie about what they hold: a named error, no code run, no memory taken for a promise."""

import gzip
import io
import os
import pickle
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from fastblackout.data import load

COUNTS = np.arange(640, dtype=np.int64).reshape(20, 8, 4) % 90


def refused(words, *arguments):
    with pytest.raises(ValueError, match="^(load|array|cifar10|mnist): ") as error:
        load(*arguments)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def text(value):
    """A string of Python 2, as in the files that come with CIFAR-10."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


PLAIN = b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
# Bytes that pass for Python objects: a field of dtype O8, and flags that do not tell.
OBJECTS = b"(K\x03" + text(b"|") + b"N(" + text(b"a") + b"t}(" + text(b"a")
OBJECTS += b"(cnumpy\ndtype\n(" + text(b"O8") + b"K\x00K\x01tRK\x00tuK\x08K\x01K\x00tb"


def batch(code=b"u1", state=PLAIN, raw=bytes(range(256)) * 48, shape=b"K\x04M\x00\x0c\x86", extra=b"", tail=b""):
    """A batch of four images as Python 2 pickled it."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(code) + b"K\x00K\x01\x87R" + state
    array += b"(K\x01" + shape + dtype + b"\x89" + text(raw) + b"tb"
    labels = text(b"labels") + b"](K\x09K\x00K\x01K\x02e"
    return b"\x80\x02}q\x01(" + labels + text(b"data") + array + extra + b"u." + tail


@pytest.fixture
def cifar(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (folder / name).write_bytes(batch())
    return folder


def test_batches_of_python_2(cifar):
    data = load("cifar10", cifar.parent)
    assert data.train.shape == (20, 3, 32, 32)
    assert np.array_equal(data.train.reshape(20, -1)[0], np.arange(3072) % 256)
    assert data.train_labels.tolist() == [9, 0, 1, 2] * 5


WRONG_BATCHES = {
    "bytes that pass for objects": (batch(b"V8", OBJECTS, bytes(range(256)) * 384), "damaged: keys must be str"),
    "a structure": (batch(state=OBJECTS.replace(b"}(" + text(b"a"), b"}(X\x01\0\0\0a")), "without fields or flags"),
    "flags": (batch(state=PLAIN.replace(b"K\x00tb", b"K\x3ftb")), "without fields or flags"),
    "floats": (batch(b"f8"), "the dtype of data must be one of i1, i2"),
    "too few bytes": (batch(raw=b"1234"), "(4, 3072) and dtype uint8 must have 12288 bytes, got 4"),
    "a negative size": (batch(shape=b"J\xff\xff\xff\xffM\x00\x0c\x86"), "at least 0"),
    "many dimensions": (batch(shape=b"(" + b"K\xff" * 100_000 + b"t"), "one or two integers"),
    "another shape": (batch(shape=b"M\x00\x0cK\x04\x86"), "data must be an array (N, 3072), got (3072, 4)"),
    "a promise of 4 GB": (batch()[:-2] + text(b"x") + b"T\xff\xff\xff\x7f" + b"u.", "damaged"),
    "memory for a place": (b"\x80\x02}r\xff\xff\xff\x7f" + batch()[5:], "bytes of memory to read"),
    "a state for a list": (batch(extra=text(b"x") + b"]}b"), "damaged"),
    "an import": (
        batch(extra=text(b"x") + b"cos\nsystem\n" + text(b"true") + b"\x85R"),
        "'os.system', which is refused",
    ),
    "labels of text": (batch().replace(b"](K\x09", b"](U\x01a"), "labels must be a list of integers"),
    "an enormous label": (batch().replace(b"](K\x09", b"](J\x00\xca\x9a\x3b"), "0..65535, got 1000000000"),
    "bytes after its end": (batch(tail=b"!"), "goes on for 1 bytes"),
    "no labels": (batch().replace(b"labels", b"babels"), "no 'labels'"),
    "a list": (b"].", "it must hold a dictionary"),
    "nothing": (b"", "damaged"),
    "a list of images": (pickle.dumps({b"data": [1], b"labels": [1]}), "data must be an array (N, 3072), got (1,)"),
}


@pytest.mark.parametrize("name", WRONG_BATCHES)
def test_wrong_batches(cifar, name):
    content, words = WRONG_BATCHES[name]
    (cifar / "data_batch_3").write_bytes(content)
    refused([words, "cifar10" if "0..65535" in words else "data_batch_3"], "cifar10", cifar.parent)


def test_arrays_of_python_3_in_every_layout(cifar):
    """Big-endian and column-major arrays, and labels as an array."""
    images = np.asfortranarray(np.arange(4 * 3072).reshape(4, 3072) % 256).astype(">i4", order="F")
    for protocol in range(5):
        content = {"data": images, "labels": np.array([9, 0, 1, 2], dtype=np.int16)}
        (cifar / "data_batch_3").write_bytes(pickle.dumps(content, protocol))
        data = load("cifar10", cifar.parent)
        assert np.array_equal(data.train[8:12].reshape(4, -1), images)


def npy(array=COUNTS, **changes):
    """A .npy file, with changes of its header."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {**np.lib.format.header_data_from_array_1_0(array), **changes})
    return buffer.getvalue() + array.tobytes("F" if array.flags.fnc else "C")


def npz(path, method=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_npy", ".npy"), content)


OTHERS = [COUNTS.astype(dtype) for dtype in (">u2", "i1", "f2", ">f4", "f8")]


@pytest.mark.parametrize("array", [COUNTS, np.asfortranarray(COUNTS), *OTHERS])
def test_layouts_of_arrays(tmp_path, array):
    (tmp_path / "a.npy").write_bytes(npy(array))
    npz(tmp_path / "a.npz", counts_npy=npy(array))
    expected = load("array", tmp_path / "a.npy")
    assert sorted(map(bytes, (*expected.train, *expected.held_out))) == sorted(map(bytes, COUNTS.astype(np.uint8)))
    assert np.array_equal(load("array", tmp_path / "a.npz").train, expected.train)


HUGE = (1 << 20, 1 << 20, 1 << 10)  # a petabyte
WRONG_HEADERS = {
    "more than there is": (npy(shape=(21, 8, 4)), "must hold 5376 bytes of data, got"),
    "a petabyte": (npy(shape=HUGE), "must hold 9007199254740992 bytes of data, got"),
    "less than there is": (npy(shape=(19, 8, 4)), "got more"),
    "a negative size": (npy(shape=(-20, 8, 4)), "at least 0, got (-20, 8, 4)"),
    "two negative sizes": (npy(shape=(-20, 8, -4)), "at least 0"),
    "objects": (npy(descr="|O"), "holds Python objects"),
    "no whole numbers": (npy(COUNTS + 0.5), "floats must be whole numbers of at most 2^24, got 0.5"),
    "infinity": (npy(np.array([1, np.inf])), "floats must be whole numbers of at most 2^24, got inf"),
    "more than float32 counts": (npy(np.array([1, 2.0**24 + 1])), "of at most 2^24, got 16777217.0"),
    "a structure": (npy(descr=[("a", "<i8")]), "integer counts, got dtype [('a', '<i8')]"),
    "nested brackets": (npy()[:10] + b"(" * 118, "not a readable"),
    "too many dimensions": (npy(shape=(1,) * 99 + (640,)), "not a readable"),
}


@pytest.mark.parametrize("name", WRONG_HEADERS)
def test_wrong_headers(tmp_path, name):
    content, words = WRONG_HEADERS[name]
    (tmp_path / "a.npy").write_bytes(content)
    refused(["a.npy", words], "array", tmp_path / "a.npy")
    npz(tmp_path / "a.npz", images_npy=content)
    refused(["a.npz", words], "array", tmp_path / "a.npz")


def test_members_that_are_no_arrays(tmp_path):
    file = tmp_path / "a.npz"
    npz(file, images="hello")
    refused(["must hold train_images, images, counts or one array, got images"], "array", file)
    npz(file, images_npy=npy(), **{"about.txt": "counts"})
    assert load("array", file).shape == (1, 8, 4)
    npz(file, images_npy=npy(), labels_npy=npy(np.array([1.0, 1.5] * 10)))
    refused(["a.npz: labels: floats must be whole numbers of at most 2^24, got 1.5"], "array", file)
    npz(file, images_npy=npy(), labels_npy=npy(np.full(20, 10**9)))
    refused(["labels: must be in 0..65535, got 1000000000"], "array", file)
    npz(file, images_npy=npy((COUNTS + 2**60).astype(np.uint64)))
    refused(["max_count: must be in 1..9007199254740992"], "array", file)
    npz(file, zipfile.ZIP_BZIP2, images_npy=npy())
    refused(["images: must be stored or deflated, got compression 12"], "array", file)


@pytest.fixture
def little_memory():
    """No allocation beyond 128 MiB more than now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 27), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


BLOCK = bytes(1 << 24)


def test_bombs_are_not_inflated(tmp_path, little_memory):
    """256 MiB of zeros, where half of that fits."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    head = struct.pack(">HBB3I", 0, 8, 3, 4, 8, 8)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + bytes(256))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 4) + bytes(4))
    assert load("mnist", tmp_path).train.shape == (4, 1, 8, 8)
    (raw / "train-images-idx3-ubyte").unlink()
    packed = raw / "train-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(head) + 16 * gzip.compress(BLOCK, 9))
    refused(["train-images-idx3-ubyte.gz", "must hold 256 bytes of data, got more"], "mnist", tmp_path)
    packed.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, *HUGE)))
    refused(["must hold 1125899906842624 bytes of data, got"], "mnist", tmp_path)
    whole = gzip.compress(head + bytes(256))
    for content in (whole[:-4], whole[:-9], whole + b"tail", gzip.compress(head + bytes(255))):
        packed.write_bytes(content)
        refused(["train-images-idx3-ubyte.gz: not a readable idx file"], "mnist", tmp_path)
    file = tmp_path / "a.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy())
        with archive.open("other.npy", "w", force_zip64=True) as member:
            member.write(npy(np.zeros(0, np.uint8), shape=(16 << 24,)))
            for _ in range(16):
                member.write(BLOCK)
    assert load("array", file).shape == (1, 8, 4)  # what is not used is not inflated


def test_images_of_formats_that_run_programs(tmp_path, monkeypatch):
    """Pillow knows PostScript by its content, and asks Ghostscript."""
    ghost = tmp_path / "bin" / "gs"
    ghost.parent.mkdir()
    ghost.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghost.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghost.parent}:{os.environ['PATH']}")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    )
    refused(["0.png: not a readable image"], "folder", tmp_path / "images")
    assert not (tmp_path / "started").exists()


def test_images_larger_than_they_may_be(tmp_path):
    def png(name, width, height):
        Image.new("L", (8, 8)).save(tmp_path / name)
        content = bytearray((tmp_path / name).read_bytes())
        content[16:24] = struct.pack(">2I", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (tmp_path / name).write_bytes(content)

    png("0.png", 12_000, 12_000)
    refused(["0.png: not a readable image: Image size (144000000 pixels) exceeds limit"], "folder", tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "0.png")
    png("1.png", 9_000, 9_000)  # allowed, but not what the first image is: it is not decoded
    refused(["1.png: every image must be L 8x8 like 0.png, got L 9000x9000"], "folder", tmp_path)
