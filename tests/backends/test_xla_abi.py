"""xla_ffi.h and xla_number.h beside the header of XLA's foreign function interface that the installed jaxlib has."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import ROOT

OURS = ROOT / "csrc/bindings/xla_ffi.h"
DTYPES = ROOT / "csrc/include/fastblackout/xla_number.h"
OWN = [f"-I{ROOT / folder}" for folder in ("csrc", "csrc/include")]
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
# Our struct: XLA's, and the fields of both.
STRUCTS = {
    "Extension": ("Extension_Base", "size struct_size kind type next next"),
    "Version": ("Api_Version", "size struct_size extensions extension_start major major_version minor minor_version"),
    "Metadata": ("Metadata", "size struct_size version api_version"),
    "MetadataExtension": ("Metadata_Extension", "base extension_base metadata metadata"),
    "ErrorArguments": ("Error_Create_Args", "size struct_size extensions extension_start message message code errc"),
    "StreamArguments": ("Stream_Get_Args", "size struct_size extensions extension_start context ctx stream stream"),
    "Api": (
        "Api",
        "size struct_size extensions extension_start version api_version internal internal_api"
        " create_error XLA_FFI_Error_Create unused_message XLA_FFI_Error_GetMessage"
        " unused_destroy XLA_FFI_Error_Destroy unused_register XLA_FFI_Handler_Register"
        " get_stream XLA_FFI_Stream_Get",
    ),
    "Buffer": ("Buffer", "size struct_size extensions extension_start type dtype data data rank rank sizes dims"),
    "Text": ("ByteSpan", "data ptr size len"),
    "Scalar": ("Scalar", "type dtype data value"),
    "Buffers": ("Args", "size struct_size extensions extension_start count size kinds types each args"),
    "Attributes": (
        "Attrs",
        "size struct_size extensions extension_start count size types types names names each attrs",
    ),
    "CallFrame": (
        "CallFrame",
        "size struct_size extensions extension_start api api context ctx stage stage arguments args"
        " results rets attributes attrs",
    ),
}
WHOLE = {*STRUCTS} - {"Metadata", "Api", "CallFrame"}
NUMBERS = {
    "Type": ("DataType", str.upper),
    "AttributeType": ("AttrType", str.upper),
    "Stage": ("ExecutionStage", str.upper),
    "Code": ("Error_Code", str.upper),
}


def program():
    """A program that compiles where all places, sizes and numbers are the same."""
    ours, text = "fastblackout::xla::", OURS.read_text() + DTYPES.read_text()
    told = dict(re.findall(r"struct (\w+) \{(.*?)\n\};", text, re.DOTALL))
    assert set(told) == set(STRUCTS)
    lines = [f'#include "{OURS}"', "#include <xla/ffi/api/c_api.h>"]

    def same(one, other):
        lines.append(f'static_assert({one} == {other}, "{one} is not {other}");')

    for name, (theirs, fields) in STRUCTS.items():
        pairs = list(zip(fields.split()[::2], fields.split()[1::2], strict=True))
        assert [field for field, _ in pairs] == re.findall(r"(\w+)(?:\)\(.*\))?[;,]", re.sub("//.*", "", told[name]))
        for field, other in pairs:
            same(f"offsetof({ours}{name}, {field})", f"offsetof(XLA_FFI_{theirs}, {other})")
            same(f"sizeof({ours}{name}::{field})", f"sizeof(XLA_FFI_{theirs}::{other})") if name in WHOLE else None
        if name in WHOLE:
            same(f"sizeof({ours}{name})", f"sizeof(XLA_FFI_{theirs})")
    same("offsetof(XLA_FFI_Rets, rets)", "offsetof(XLA_FFI_Args, args)")
    same("sizeof(XLA_FFI_Rets)", "sizeof(XLA_FFI_Args)")
    for name, (theirs, spelled) in NUMBERS.items():
        (values,) = re.findall(rf"enum class {name} : int \{{(.*?)\}}", text, re.DOTALL)
        known = re.findall(r"(\w+) = \d+", values)
        assert known
        same(f"sizeof({ours}{name})", f"sizeof(XLA_FFI_{theirs})")
        for each in known:
            same(f"int({ours}{name}::{each})", f"int(XLA_FFI_{theirs}_{spelled(each)})")
    same(f"{ours}kBuffer", "int(XLA_FFI_ArgType_BUFFER)")
    same(f"{ours}kBuffer", "int(XLA_FFI_RetType_BUFFER)")
    same(f"{ours}kMetadata", "int(XLA_FFI_Extension_Metadata)")
    same(f"{ours}kMajor", "XLA_FFI_API_MAJOR")
    lines.append(f'static_assert({ours}kMinor <= XLA_FFI_API_MINOR, "older than what we read");')
    return "\n".join(lines)


def test_the_interface_is_that_of_the_installed_jaxlib(tmp_path):
    found = importlib.util.find_spec("jaxlib")  # JAX itself is not imported: its threads forbid later forks
    if found is None or COMPILER is None:
        pytest.skip("jaxlib or a C++ compiler is absent")
    include = Path(found.origin).parent / "include"
    source = tmp_path / "same.cpp"
    source.write_text(program())
    command = [*COMPILER.split(), "-std=c++17", "-fsyntax-only", f"-I{include}", *OWN, str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
