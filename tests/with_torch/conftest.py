"""Every test of torch.compile and its like starts anew: without the graphs of earlier tests, and on one thread."""

import pytest
import torch


@pytest.fixture(autouse=True)
def fresh():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch._dynamo.reset()
    yield
    torch.set_num_threads(threads)
