"""A file of random weights for torch-fidelity's Inception network, in place of the published ones."""

import hashlib

import pytest
import torch


def write_random_inception(path):
    """Writes such a file and returns its SHA-256; the size of values stays about the same from layer to layer."""
    from torch_fidelity import FeatureExtractorInceptionV3, feature_extractor_inceptionv3

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    network.fc.weight *= 100  # so that images differ in their classes
    torch.save(network.state_dict(), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
