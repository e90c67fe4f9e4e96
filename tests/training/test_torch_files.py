"""Files of torch.save, read without torch's unpickler: tensors are what was saved, and what harms is refused."""

import copy
import io
import struct
import zipfile

import numpy as np
import pytest
import torch

from fastblackout.ground.pickles import Refused
from fastblackout.training import torch_files
from fastblackout.training.convert import convert
from fastblackout.training.torch_files import Stored, read_torch

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


def saved(content, new=True):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def rewritten(content, pickled, change=lambda archive, name, data: archive.writestr(name, data)):
    """A file of torch.save with `pickled` of its data.pkl in its place, each member written by `change`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            change(new, name, pickled(data) if name.endswith("data.pkl") else data)
    return buffer.getvalue()


@pytest.mark.parametrize("new", [True, False])
def test_tensors_are_what_was_saved(new):
    """In the format of zip archives, and in the one before."""
    state = torch.nn.Linear(2, 3).state_dict()  # an OrderedDict with an attribute
    content = {"tensors": TENSORS, "state": state, "others": [1, 2.5, None, True, "text", (1, 2)], 3: {}}
    got = read_torch(saved(content, new))
    assert (got["others"], got[3], list(got["state"])) == (content["others"], {}, list(state))
    for name, stored in got["tensors"].items():
        loaded, wanted = stored.load(), TENSORS[name]
        assert torch.equal(loaded, wanted)
        assert (loaded.dtype, loaded.stride()) == (wanted.dtype, wanted.stride()) and stored.dtype == wanted.dtype


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("core", [b"core", b"_core"])
def test_arrays_of_numpy_are_left_out(core, new):
    """NumPy 1 pickles them by numpy.core, NumPy 2 by numpy._core."""
    mine = np.empty(0).__reduce__()[0].__module__.encode()
    content = {"loss": NUMPY, "w": torch.ones(1)}
    data = saved(content, new)
    if new:
        data = rewritten(data, lambda pickled: pickled.replace(mine, b"numpy." + core + b".multiarray"))
    else:
        data = data.replace(mine, b"numpy." + core + b".multiarray")
    assert b"numpy." + core + b".multiarray" in data
    got = read_torch(data)
    assert not any(isinstance(value, (np.ndarray, np.generic)) for value in got["loss"].values())
    assert list(got["loss"]) == list(NUMPY) and got["w"].load() == 1


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


def forged(flags, shape):
    """A number of NumPy whose dtype, float64, says that it is an array of objects: its bytes are then an address."""
    state = b"(K\x03" + text(b"<") + b"(" + OBJECT + shape + b"tNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + flags + b"tb"
    dtype = b"cnumpy\ndtype\n" + text(b"f8") + b"\x89\x88\x87R" + state
    raw = b"c_codecs\nencode\n" + text(b"ABCDEFGH") + text(b"latin1") + b"\x86R"
    return b"cnumpy._core.multiarray\nscalar\n" + dtype + raw + b"\x86R"


def test_crafted_tensors():
    assert torch.equal(read_torch(of(tensor(), k=FLOATS)).load(), torch.arange(8.0))


WRONG = {
    "more than its storage": (of(tensor(shape=(9,)), k=FLOATS), "goes beyond its storage"),
    "a place beyond": (of(tensor(offset=1), k=FLOATS), "goes beyond its storage"),
    "a stride beyond": (of(tensor(shape=(2,), strides=(8,)), k=FLOATS), "goes beyond its storage"),
    "a negative stride": (of(tensor(strides=(-1,)), k=FLOATS), "at least 0"),
    "a storage that lies": (of(tensor(count=1 << 40, shape=(1 << 40,)), k=FLOATS), "must have 4398046511104 bytes"),
    "more than an address has": (of(tensor(shape=(1 << 40,) * 2, strides=(0, 0)), k=FLOATS), "beyond its storage"),
    "no such storage": (of(tensor(key=b"other"), k=FLOATS), "damaged"),
    "two of one name": (of(b"(" + tensor() + tensor(7, shape=(7,)) + b"t", k=FLOATS), "two storages of one name"),
    "a module": (of(tensor(kind=b"module"), k=FLOATS), "other than a storage"),
    "a storage of text": (of(tensor(dtype=b"collections\nOrderedDict\n"), k=FLOATS), "other than a storage"),
    "an import": (of(b"cos\nsystem\n" + text(b"true") + b"\x85R"), "asks for 'os.system', which is refused"),
    "an array of bytes": (of(b"cbuiltins\nbytearray\n" + integer(1 << 40) + b"\x85R"), "'builtins.bytearray'"),
    "torch's own classes": (of(b"ctorch\nTensor\n" + integer(1 << 40) + b"\x85R"), "asks for 'torch.Tensor'"),
    "a nested key": (of(b"})" + b"\x85" * 100_000 + b"K\x00s"), "must be text or integers"),
    "keys that collide": (of(b"}" + integer((1 << 61) - 1) + b"K\x00s"), "must be text or integers"),
    "an item of a tensor": (of(tensor() + b"K\x00K\x00s", k=FLOATS), "other than a dictionary"),
    "a class": (of(b"ccollections\nOrderedDict\n)\x81"), "NEWOBJ, which is refused"),
    "a call of a number": (of(b"K\x05)R"), "calls what is no function"),
    "no pickle": (of(b"")[:-30], "damaged"),
    "an array in a file": (b"\x93NUMPY\x01\x00v\x00", "neither an archive nor the pickles"),
    "other numbers": (b"\x80\x02K\x05.\x80\x02K\x05.", "neither an archive nor the pickles"),
    "nothing": (b"", "neither an archive nor the pickles"),
    "an archive of others": (
        rewritten(of(b"N"), bytes, lambda new, name, data: new.writestr("a", data)),
        "no data.pkl",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files(name):
    content, words = WRONG[name]
    with pytest.raises(Refused) as error:
        read_torch(content)
    assert words in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_old_files_that_end_early(cut):
    with pytest.raises(Refused):
        read_torch(saved({"a": torch.ones(30)}, new=False)[:-cut])


def test_what_is_deflated_is_not_inflated(monkeypatch):
    """64 MiB of zeros in 64 kB, which torch never writes."""

    def deflated(archive, name, data):
        archive.writestr(name, bytes(1 << 26) if name.endswith("/0") else data, zipfile.ZIP_DEFLATED)

    bomb = rewritten(saved({"a": torch.ones(30)}), bytes, deflated)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *arguments: pytest.fail("a member was opened"))
    with pytest.raises(Refused, match="compressed, which torch"):
        read_torch(bomb)


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
        read_torch(buffer.getvalue())


def test_a_file_takes_no_more_steps_than_it_may(monkeypatch):
    monkeypatch.setattr(torch_files, "_MOST_STEPS", 1000)
    assert read_torch(of(b"](" + b"N" * 900 + b"e")) == [None] * 900
    with pytest.raises(Refused, match="more than 1000 steps"):
        read_torch(of(b"](" + b"}" * 1000 + b"e"))


@pytest.mark.parametrize("flags", [b"\x00", b"\x01", b"\x04", b"\x3f"])
@pytest.mark.parametrize("shape", [b")", b"K\x01\x85"])
def test_forged_dtypes_are_not_made(flags, shape, tmp_path):
    pickled = b"}(" + text(b"model") + b"}" + text(b"ema") + b"}" + text(b"step") + forged(flags, shape) + b"u"
    (tmp_path / "forged.pth").write_bytes(of(pickled))
    with pytest.raises(ValueError, match=r"forged.pth: step: must be an integer in 0..2\^32 - 1, got something else$"):
        convert(tmp_path / "forged.pth", tmp_path / "run", "score-sde", "cifar10")


def test_values_of_the_file_are_not_shown(tmp_path):
    for step in (b"]", tensor(), integer(1 << 70), text(b"s" * 1000)):
        pickled = b"}(" + text(b"model") + b"}" + text(b"ema") + b"}" + text(b"step") + step + b"u"
        (tmp_path / "a.pth").write_bytes(of(pickled, k=FLOATS))
        with pytest.raises(ValueError, match="step: must be an integer") as error:
            convert(tmp_path / "a.pth", tmp_path / "run", "score-sde", "cifar10")
        assert len(str(error.value)) < 120 + len(str(tmp_path))


def test_only_what_is_asked_for_is_read():
    """The state of an optimizer stays in the file; two tensors of one storage share it."""
    both = torch.arange(6.0)
    got = read_torch(saved({"a": both[:3], "b": both[3:], "c": torch.ones(4)}))
    assert all(isinstance(value, Stored) for value in got.values())
    assert got["a"].load().untyped_storage().data_ptr() == got["b"].load().untyped_storage().data_ptr()
    assert got["c"].storage.values is None


def test_pickles_of_another_protocol_are_read():
    """torch.save(pickle_protocol=4)."""
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3), "b": 2}, buffer, pickle_protocol=4)
    got = read_torch(buffer.getvalue())
    assert got["b"] == 2 and torch.equal(got["a"].load(), torch.ones(3))
