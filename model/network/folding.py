"""Folding of batch norms into the convolutions before them: the same function with fewer passes over memory."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> None:
    """Fold, in place, every batch norm that follows a convolution within a Sequential.

    Raises ValueError for a network in training mode, because a batch norm is a fixed function in eval mode only.
    """
    if network.training:
        raise ValueError("batch norms can only be folded in eval mode")
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for first, second in pairwise(list(module._modules)):
            conv, norm = module._modules[first], module._modules[second]
            if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                module._modules[first] = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
                module._modules[second] = nn.Identity()
