"""The 3-D U-Net: MONAI's DynUNet, three levels down, supervised at half and quarter size too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.hippocampus_mr.unet import UNet

if TYPE_CHECKING:
    from monai.networks.nets.dynunet import DynUNet

CLASSES = 3  #: background, anterior, posterior
STRIDE = 8  #: every side of an input is a multiple of this
#: Channels a level. The first level costs most of the time and needs few: 16 there and full width below.
FILTERS = (16, 64, 128, 256)
HEADS = 2  #: lower-resolution heads that are supervised too; they are no part of the weights file


def build() -> DynUNet:
    """The untrained network: (batch, 1, to the right, to the front, to the head) to logits of three classes.

    In training it returns (batch, 1 + HEADS, classes, ...), the heads enlarged to the input's size; in
    evaluation (batch, classes, ...). Imports MONAI, which serving does without (`unpack`).
    """
    from monai.networks.nets.dynunet import DynUNet

    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=CLASSES,
        kernel_size=[3] * len(FILTERS),
        strides=[1] + [2] * (len(FILTERS) - 1),
        upsample_kernel_size=[2] * (len(FILTERS) - 1),
        filters=list(FILTERS),
        norm_name="batch",
        deep_supervision=True,
        deep_supr_num=HEADS,
    )


def pack(network: nn.Module) -> dict[str, Tensor]:
    """The numbers of serving in half precision; the training heads and batch counters are left out."""
    return {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not _only_in_training(name)
    }


def _only_in_training(name: str) -> bool:
    # DynUNet registers its blocks a second time under `skip_layers`, for its recursion alone
    return name.startswith(("deep_supervision_heads.", "skip_layers."))


def unpack(tensors: dict[str, Tensor], device: str) -> UNet:
    """The network of serving with these numbers. Raises RuntimeError where one is missing or misshapen."""
    network = UNet(FILTERS, CLASSES)
    missing, unexpected = network.load_state_dict(
        {name: tensor.float() for name, tensor in tensors.items()}, strict=False
    )
    lost = [n for n in missing if not n.endswith("num_batches_tracked")]
    if lost or unexpected:
        raise RuntimeError(f"weights lack {lost[:3]} or hold unknown {list(unexpected)[:3]}")
    return network.eval().requires_grad_(False).to(device)


def padded(x: Tensor) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """An input (batch, 1, ...), its edges repeated up to multiples of STRIDE, and where it lies in that."""
    pads: list[int] = []
    inner = []
    for size in x.shape[2:]:
        more = -size % STRIDE
        pads = [more // 2, more - more // 2, *pads]  # torch counts from the last axis
        inner.append(slice(more // 2, more // 2 + size))
    wide: Tensor = nn.functional.pad(x, pads, mode="replicate")
    return wide, (inner[0], inner[1], inner[2])


def shares(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Probabilities of the three classes for a standardised input (batch, 1, ...), float32, same size."""
    wide, inner = padded(x)
    return answered(network, wide)[(..., *inner)]


def answered(network: Callable[[Tensor], Tensor], wide: Tensor) -> Tensor:
    """Probabilities of the three classes for padded inputs (batch, 1, ...), float32, same size."""
    logits = network(wide.contiguous(memory_format=torch.channels_last_3d))
    return logits.float().softmax(1)
