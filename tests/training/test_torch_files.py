"""Files of torch.save: tensors are what was saved, what harms is refused, and no file takes much memory or time."""

import copy
import io
import struct
import zipfile

import numpy as np
import pytest
import torch

from fastblackout.ground import pickles
from fastblackout.ground.pickles import Refused
from fastblackout.training.convert import convert
from fastblackout.training.torch_files import TorchFile

TENSORS = {
    "plain": torch.arange(12.0).reshape(3, 4),
    "turned": torch.arange(12.0).reshape(3, 4).T,
    "half": torch.randn(3, generator=torch.Generator().manual_seed(0)).bfloat16(),
    "double": torch.tensor(0.1, dtype=torch.float64),
    "part": torch.arange(9.0)[4:7],
    "spread": torch.ones(1).expand(5, 7),
    "empty": torch.empty(0, 3),
    "whole": torch.arange(5),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}
NUMPY = {
    "array": np.arange(6.0),
    "none": np.array(0.5, np.float32),
    "scalar": np.float32(0.25),
    "object": np.array([{}]),
}


def saved(content, new=True, protocol=2):
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def rewritten(content, pickled, change=lambda archive, name, data: archive.writestr(name, data)):
    """A file of torch.save with `pickled` of its data.pkl in its place, each member written by `change`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            change(new, name, pickled(data) if name.endswith("data.pkl") else data)
    return buffer.getvalue()


@pytest.mark.parametrize(("new", "protocol"), [(True, 2), (True, 4), (False, 2)])
def test_tensors_are_what_was_saved(new, protocol):
    """In the format of zip archives, and in the one before."""
    state = torch.nn.Linear(2, 3).state_dict()  # an OrderedDict with an attribute
    others = [1, 2.5, None, True, "text", (1, 2)]
    content = {"tensors": TENSORS, "state": state, "others": others, "halves": TENSORS["whole"].split(3), 3: {}}
    got = TorchFile(saved(content, new, protocol), ("tensors", "state", "others", "halves"))
    assert got.keys == ["tensors", "state", "others", "halves", "3"] and list(got["state"]) == list(state)
    assert got["others"] == [1, 2.5, None, True, "text", [1, 2]] and got.tensor(got["others"]) is None
    for name, wanted in TENSORS.items():
        loaded = got.tensor(got["tensors"][name])
        assert torch.equal(loaded, wanted)
        assert (loaded.dtype, loaded.stride()) == (wanted.dtype, wanted.stride())
    one, other = map(got.tensor, got["halves"])
    assert one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("core", [b"core", b"_core"])
def test_arrays_of_numpy_are_passed_over(core, new):
    """NumPy 1 pickles them by numpy.core, NumPy 2 by numpy._core."""
    mine = np.empty(0).__reduce__()[0].__module__.encode()
    content = {"loss": NUMPY, "w": torch.ones(1)}
    data = saved(content, new)
    if new:
        data = rewritten(data, lambda pickled: pickled.replace(mine, b"numpy." + core + b".multiarray"))
    else:
        data = data.replace(mine, b"numpy." + core + b".multiarray")
    assert b"numpy." + core + b".multiarray" in data
    got = TorchFile(data, ("loss", "w"))
    assert list(got["loss"]) == list(NUMPY) and got.tensor(got["loss"]["array"]) is None
    assert got.tensor(got["w"]) == 1


def of(pickled, **members):
    """A file of torch.save, by what its data.pkl and its storages hold."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        for name, data in members.items():
            archive.writestr(f"archive/data/{name}", data)
    return buffer.getvalue()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def integer(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def tensor(count=8, offset=0, shape=(8,), strides=(1,), key=b"k", kind=b"storage", dtype=b"torch\nFloatStorage\n"):
    """A tensor as torch.save writes it."""
    storage = b"(" + text(kind) + b"c" + dtype + text(key) + text(b"cpu") + integer(count) + b"tQ"
    sizes = b"".join(b"(" + b"".join(map(integer, numbers)) + b"t" for numbers in (shape, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + integer(offset) + sizes + b"\x89NtR"


FLOATS = struct.pack("<8f", *range(8))
OBJECT = b"cnumpy\ndtype\n" + text(b"O8") + b"\x89\x88\x87R"


def forged():
    """A number of NumPy whose dtype, float64, says that it is an array of objects: its bytes are then an address."""
    state = b"(K\x03" + text(b"<") + b"(" + OBJECT + b")tNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
    dtype = b"cnumpy\ndtype\n" + text(b"f8") + b"\x89\x88\x87R" + state
    raw = b"c_codecs\nencode\n" + text(b"ABCDEFGH") + text(b"latin1") + b"\x86R"
    return b"cnumpy._core.multiarray\nscalar\n" + dtype + raw + b"\x86R"


def items(**values):
    """The pickle of a dictionary."""
    return b"}(" + b"".join(text(key.encode()) + value for key, value in values.items()) + b"u"


def read(content):
    file = TorchFile(content, ("a", "b"))
    return [file.tensor(file[key]) for key in ("a", "b")]


def test_crafted_tensors():
    assert torch.equal(read(of(items(a=tensor(), b=b"N"), k=FLOATS))[0], torch.arange(8.0))


def one(crafted, **members):
    return of(items(a=crafted, b=b"N"), **(members or {"k": FLOATS}))


WRONG = {
    "more than its storage": (one(tensor(shape=(9,))), "goes beyond its storage"),
    "a place beyond": (one(tensor(offset=1)), "goes beyond its storage"),
    "a stride beyond": (one(tensor(shape=(2,), strides=(8,))), "goes beyond its storage"),
    "a negative stride": (one(tensor(strides=(-1,))), "at least 0"),
    "a storage that lies": (one(tensor(count=1 << 40, shape=(1 << 40,))), "must have 4398046511104 bytes, got 32"),
    "more than an address has": (one(tensor(shape=(1 << 40,) * 2, strides=(0, 0))), "goes beyond its storage"),
    "more strides": (one(tensor(strides=(1, 1))), "a stride for each of at most 16 dimensions"),
    "no such storage": (one(tensor(key=b"other")), "damaged"),
    "two of one name": (of(items(a=tensor(), b=tensor(7, shape=(7,))), k=FLOATS), "must have 28 bytes, got 32"),
    "an import": (of(b"cos\nsystem\n" + text(b"true") + b"\x85R"), "asks for 'os.system', which is refused"),
    "an array of bytes": (of(b"cbuiltins\nbytearray\n" + integer(1 << 40) + b"\x85R"), "'builtins.bytearray'"),
    "torch's own classes": (of(b"ctorch\nTensor\n" + integer(1 << 40) + b"\x85R"), "asks for 'torch.Tensor'"),
    "a call of a number": (of(b"K\x05)R"), "damaged: 'int' object is not callable"),
    "a set": (one(b"\x8f"), "it holds a value of type set"),
    "a dictionary of bytes": (one(b"}" + text(b"\0") + b"Ns"), None),
    "no pickle": (of(b"")[:-30], "damaged"),
    "an array in a file": (b"\x93NUMPY\x01\x00v\x00", "neither an archive nor the pickles"),
    "other numbers": (b"\x80\x02K\x05." * 5, "neither an archive nor the pickles"),
    "nothing": (b"", "neither an archive nor the pickles"),
    "an archive of others": (
        rewritten(of(b"N"), bytes, lambda new, name, data: new.writestr("a", data)),
        "no data.pkl",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files(name):
    content, words = WRONG[name]
    if words is None:
        assert read(content) == [None, None]
        return
    with pytest.raises(Refused) as error:
        read(content)
    assert words in str(error.value) and len(str(error.value)) < 300


TWICE = b"h\x01h\x01\x86q\x01"  # a pair of what the memo has, in its place: forty of them are 2^40 numbers
ONCE = b"c_codecs\nencode\nq\x07" + text(bytes(1 << 20)) + b"q\x08" + text(b"latin1") + b"q\x09\x86R"
COLLIDING = b"".join(
    b"\x8a\x0c" + (number * ((1 << 61) - 1)).to_bytes(12, "little") + b"N" for number in range(60_000)
)  # integers whose hashes are 0
HARMFUL = {
    "a memo of two thousand million": (b"Nr\xff\xff\xff\x7f", "bytes of memory to read"),
    "a number that stands 2^40 times": (b"K\x05q\x01" + TWICE * 40, "more than 2 seconds to read"),
    "a gigabyte of a megabyte": (b"](" + ONCE + b"h\x07h\x08h\x09\x86R" * 1023 + b"e", "bytes of memory to read"),
    "ten megabytes of a kilobyte": (b"](" + b"K\x05" + b"q\x01" + TWICE * 20 + b"e", "far more than its bytes can"),
    "keys that collide": (b"}(" + COLLIDING + b"u", "more than 2 seconds to read"),
    "a nested key": (b"})" + b"\x85" * 1_000_000 + b"K\x00s", "ended with status"),
    "nested lists": (b"]" * 5000 + b"a" * 4999, "damaged: maximum recursion"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_memory_and_time_are_limited(name, monkeypatch):
    monkeypatch.setattr(pickles, "_SECONDS", 2)
    harm, words = HARMFUL[name]
    with pytest.raises(Refused, match=words):
        read(one(harm))


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_old_files_that_end_early(cut):
    with pytest.raises(Refused, match="it is damaged|it ends before"):
        read(saved({"a": torch.ones(30), "b": 2}, new=False)[:-cut])


def test_what_is_deflated_is_not_inflated(monkeypatch):
    """64 MiB of zeros in 64 kB, which torch never writes."""

    def deflated(archive, name, data):
        archive.writestr(name, bytes(1 << 26) if name.endswith("/0") else data, zipfile.ZIP_DEFLATED)

    bomb = rewritten(saved({"a": torch.ones(30)}), bytes, deflated)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *arguments: pytest.fail("a member was opened"))
    with pytest.raises(Refused, match="compressed, which torch"):
        read(bomb)


def test_members_do_not_share_their_bytes():
    """64 kB that are the storages of a thousand tensors."""
    buffer = io.BytesIO(of(b"N", k=bytes(1 << 16)))
    with zipfile.ZipFile(buffer, "a") as archive:
        first = archive.getinfo("archive/data/k")
        for number in range(1000):
            other = copy.copy(first)
            other.filename = f"archive/data/{number}"
            archive.filelist.append(other)
        archive.writestr("archive/end", b"")
    with pytest.raises(Refused, match="members of its archive overlap"):
        read(buffer.getvalue())


@pytest.mark.parametrize("step", [forged(), b"]", tensor(), integer(1 << 70), text(b"s" * 1000)])
def test_values_of_the_file_are_not_shown(step, tmp_path):
    (tmp_path / "a.pth").write_bytes(of(items(model=b"}", ema=b"}", step=step), k=FLOATS))
    with pytest.raises(ValueError, match="a.pth: step: must be an integer in .*, got (something|1180591620)") as error:
        convert(tmp_path / "a.pth", tmp_path / "run", "score-sde", "cifar10")
    assert len(str(error.value)) < 120 + len(str(tmp_path))
