"""setuptools' build backend; it only adds nvcc from PyPI where FASTBLACKOUT_CUDA=pypi asks for it."""

import os

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

_NVCC = ["nvidia-cuda-nvcc", "nvidia-cuda-cccl"]


def get_requires_for_build_wheel(config_settings=None):
    extra = _NVCC if os.environ.get("FASTBLACKOUT_CUDA") == "pypi" else []
    return build_meta.get_requires_for_build_wheel(config_settings) + extra


def get_requires_for_build_editable(config_settings=None):
    extra = _NVCC if os.environ.get("FASTBLACKOUT_CUDA") == "pypi" else []
    return build_meta.get_requires_for_build_editable(config_settings) + extra
