"""The network as it serves is MONAI's to the last bit, and a worker's start does without MONAI."""

from __future__ import annotations

import subprocess
import sys

import torch

from models.hippocampus_mr import network


def test_the_serving_network_answers_as_monai_s_to_the_last_bit() -> None:
    torch.manual_seed(0)
    peer = network.build()
    for name, tensor in peer.state_dict().items():
        if name.endswith(("running_mean", "norm1.weight", "norm2.bias")):
            tensor.normal_()
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    peer.load_state_dict({name: t.half().float() for name, t in peer.state_dict().items()})
    own = network.unpack(network.pack(peer), "cpu")
    seen = torch.randn(2, 1, 24, 32, 40).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        assert torch.equal(own(seen), peer.eval()(seen))


def test_opening_the_image_models_imports_neither_monai_nor_scikit_learn() -> None:
    program = (
        "import sys, models.hippocampus_mr.model, models.chest_xray.model;"
        "sys.exit(bool({'monai', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
