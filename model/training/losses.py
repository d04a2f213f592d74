"""Terms of the losses, one function each, so that a recipe can give each term a weight.

Pictures are (N,3,S,S) float in 0..1; every loss is a scalar of 0 or more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model.framing import Framing

_MOUTH_Y, _MOUTH_SIGMA_Y, _MOUTH_SIGMA_X = 0.64, 0.19, 0.24  # template face units; a Gaussian around the lips


def mouth_weights(size: int, framing: Framing) -> Tensor:
    """Return the weight of each pixel of a crop: a Gaussian around the lips, (size,size) float32 with mean 1."""
    share = (torch.arange(size) + 0.5) / size
    y = share[:, None] * framing.side + framing.top
    x = share[None, :] * framing.side + framing.left
    weights = torch.exp(-(((y - _MOUTH_Y) / _MOUTH_SIGMA_Y) ** 2) / 2 - ((x / _MOUTH_SIGMA_X) ** 2) / 2)
    return weights / weights.mean()


def change_weights(target: Tensor, reference: Tensor, weights: Tensor) -> Tensor:
    """Increase the weights of places at which target and reference differ, as on an opening mouth.

    Two (N,3,S,S) in 0..1 and place weights (S,S) -> (N,1,S,S); a difference of 0.1 doubles a weight.
    """
    return weights * (1 + 10 * (target - reference).abs().mean(1, keepdim=True))


def pixel_loss(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute difference. Two (N,3,S,S) -> scalar."""
    return (drawn - wanted).abs().mean()


def mouth_loss(drawn: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the mean absolute difference weighted by place. Two (N,3,S,S), weights (S,S) or (N,1,S,S) -> scalar."""
    return ((drawn - wanted).abs() * weights).mean()


def edge_loss(drawn: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean absolute difference of the steps between neighbouring pixels; it is large for blur.

    Two (N,3,S,S), weights (S,S) -> scalar.
    """
    difference = drawn - wanted
    down = (difference[:, :, 1:] - difference[:, :, :-1]).abs() * weights[1:]
    across = (difference[:, :, :, 1:] - difference[:, :, :, :-1]).abs() * weights[:, 1:]
    return down.mean() + across.mean()


def flow_loss(offsets: Tensor, target_mesh: Tensor, reference_mesh: Tensor, hidden_from: float) -> Tensor:
    """Return the mean distance by which the displacement misses the points of the mesh, in halves of the picture.

    offsets (N,2,H,H); meshes (N,K,2) in -1..1, `NaN` if unknown. At a point of the target mesh the offset should lead
    to the same point of the reference mesh. Points above the hidden rows do not count, because there the target itself
    is given.
    """
    known = target_mesh.isfinite().all(2) & reference_mesh.isfinite().all(2)
    counted = known & (target_mesh[..., 1] > 2 * hidden_from - 1)
    places = torch.nan_to_num(target_mesh)
    read = F.grid_sample(offsets, places[:, :, None], mode="bilinear", padding_mode="border", align_corners=False)
    wanted = torch.nan_to_num(reference_mesh) - places
    missed = (read[..., 0].mT - wanted).abs().sum(2) * counted
    return missed.sum() / counted.sum().clamp(min=1)


def opening_masks(inner_lips: Tensor, size: int) -> Tensor:
    """Draw the openings between lips. inner_lips (N,K,2): contours in -1..1 -> (N,1,size,size) float32.

    The result is 1 inside and 0 outside. A point is inside if the contour crosses a ray to its right an odd number of
    times.
    """
    centres = (torch.arange(size, device=inner_lips.device) * 2 + 1) / size - 1
    x, y = centres[None, None, None, :], centres[None, None, :, None]
    start, end = inner_lips[:, :, :, None, None], inner_lips.roll(-1, 1)[:, :, :, None, None]
    straddles = (start[:, :, 1] > y) != (end[:, :, 1] > y)  # (N,K,size,1)
    slope = (end[:, :, 0] - start[:, :, 0]) / (end[:, :, 1] - start[:, :, 1] + 1e-9)
    crosses = straddles & (x < start[:, :, 0] + (y - start[:, :, 1]) * slope)
    return (crosses.sum(1, keepdim=True) % 2).float()


def mask_loss(mask: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the cross entropy of a mask, weighted by place.

    Two (N,1,S,S), the second 0 or 1; weights (S,S) or (N,1,S,S) -> scalar.
    """
    clear = mask.float().clamp(1e-4, 1 - 1e-4)
    return (F.binary_cross_entropy(clear, wanted, reduction="none") * weights).mean()


def motion_loss(drawn: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean absolute difference of the changes from frame to frame.

    Two (R,5,3,S,S), weights (S,S) -> scalar.
    """
    return ((drawn.diff(dim=1) - wanted.diff(dim=1)).abs() * weights).mean()


def matching_loss(audio: Tensor, face: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross entropy of matching each face with its sound and each sound with its face within a clip.

    This is InfoNCE (van den Oord et al. 2018, https://arxiv.org/abs/1807.03748) in both directions. audio, face (C,M,D)
    of unit length, scale a scalar. Returns the loss and the share of faces that are nearest to their own sound.
    """
    likeness = scale * torch.einsum("cmd,cnd->cmn", face, audio)  # (C, faces, sounds)
    own = torch.arange(likeness.shape[1], device=likeness.device).expand(likeness.shape[0], -1)
    loss = F.cross_entropy(likeness.mT, own) + F.cross_entropy(likeness, own)  # dimension 1 holds the classes
    found = (likeness.argmax(2) == own).float().mean()
    return loss / 2, found


def sync_loss(face: Tensor, audio: Tensor, others: Tensor, scale: Tensor) -> Tensor:
    """Return the cross entropy of choosing, for a drawn mouth, its own sound among those of other moments.

    face (R,D), audio (R,D), others (R,K,D), all of unit length; scale a scalar -> scalar.
    """
    sounds = torch.cat([audio[:, None], others], dim=1)  # (R,1+K,D)
    likeness = scale * torch.einsum("rd,rkd->rk", face, sounds)
    return F.cross_entropy(likeness, torch.zeros(len(face), dtype=torch.long, device=face.device))


def articulation_loss(predicted: Tensor, known: Tensor) -> Tensor:
    """Return the mean error of an articulation over its known values. Two (N,7), `known` may hold NaN -> scalar."""
    labelled = known.isfinite()
    error = F.smooth_l1_loss(predicted, torch.where(labelled, known, predicted.detach()), reduction="none")
    return (error * labelled).sum() / labelled.sum().clamp(min=1)


def critic_loss(filmed: Tensor, drawn: Tensor) -> Tensor:
    """Return the cross entropy of a critic that distinguishes filmed from drawn patches; 2 ln 2 for an undecided one.

    Two tensors of logits, of any shape -> scalar.
    """
    return F.softplus(-filmed).mean() + F.softplus(drawn).mean()
