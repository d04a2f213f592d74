"""What training asks of a drawn face, each term by name so that a config can weigh it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model.framing import Framing

_MOUTH_Y, _MOUTH_SIGMA_Y, _MOUTH_SIGMA_X = 0.64, 0.19, 0.24  # template face units; a Gaussian around the lips


def mouth_weights(size: int, framing: Framing) -> Tensor:
    """Return how much each pixel of a crop belongs to the mouth, (size,size) float32, mean 1."""
    share = (torch.arange(size) + 0.5) / size
    y = share[:, None] * framing.side + framing.top
    x = share[None, :] * framing.side + framing.left
    weights = torch.exp(-(((y - _MOUTH_Y) / _MOUTH_SIGMA_Y) ** 2) / 2 - ((x / _MOUTH_SIGMA_X) ** 2) / 2)
    return weights / weights.mean()


def change_weights(target: Tensor, reference: Tensor, weights: Tensor) -> Tensor:
    """Weigh places by how much they differ from the reference, too: what must be drawn anew is where the mouth opens.

    Two (N,3,S,S) in 0..1 and place weights (S,S) -> (N,1,S,S); a difference of a tenth doubles a weight.
    """
    return weights * (1 + 10 * (target - reference).abs().mean(1, keepdim=True))


def pixel_loss(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean absolute difference. Two (N,3,S,S) -> scalar."""
    return (drawn - wanted).abs().mean()


def mouth_loss(drawn: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the mean absolute difference weighted by place. Two (N,3,S,S), weights (S,S) or (N,1,S,S) -> scalar."""
    return ((drawn - wanted).abs() * weights).mean()


def edge_loss(drawn: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the mean absolute difference of the steps between neighbours, against blur. As `mouth_loss`."""
    difference = drawn - wanted
    down = (difference[:, :, 1:] - difference[:, :, :-1]).abs() * weights[1:]
    across = (difference[:, :, :, 1:] - difference[:, :, :, :-1]).abs() * weights[:, 1:]
    return down.mean() + across.mean()


def flow_loss(offsets: Tensor, target_mesh: Tensor, reference_mesh: Tensor, hidden_from: float) -> Tensor:
    """Return how far the displacement misses where the points of the mesh come from, in halves of the picture.

    offsets (N,2,H,H); meshes (N,K,2) in -1..1, `NaN` where not known: at a point of the target the offset should lead
    to the same point of the reference. Points above the hidden rows, which are given, count nothing.
    """
    known = target_mesh.isfinite().all(2) & reference_mesh.isfinite().all(2)
    counted = known & (target_mesh[..., 1] > 2 * hidden_from - 1)
    places = torch.nan_to_num(target_mesh)
    read = F.grid_sample(offsets, places[:, :, None], mode="bilinear", padding_mode="border", align_corners=False)
    wanted = torch.nan_to_num(reference_mesh) - places
    missed = (read[..., 0].mT - wanted).abs().sum(2) * counted
    return missed.sum() / counted.sum().clamp(min=1)


def opening_masks(inner_lips: Tensor, size: int) -> Tensor:
    """Draw where mouths are open. inner_lips (N,K,2): contours in -1..1 -> (N,1,size,size) float32, 0 or 1 inside.

    A point is inside where the contour crosses a ray to its right an odd number of times.
    """
    centres = (torch.arange(size, device=inner_lips.device) * 2 + 1) / size - 1
    x, y = centres[None, None, None, :], centres[None, None, :, None]
    start, end = inner_lips[:, :, :, None, None], inner_lips.roll(-1, 1)[:, :, :, None, None]
    straddles = (start[:, :, 1] > y) != (end[:, :, 1] > y)  # (N,K,size,1)
    slope = (end[:, :, 0] - start[:, :, 0]) / (end[:, :, 1] - start[:, :, 1] + 1e-9)
    crosses = straddles & (x < start[:, :, 0] + (y - start[:, :, 1]) * slope)
    return (crosses.sum(1, keepdim=True) % 2).float()


def mask_loss(mask: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the cross entropy of a mask, weighted by place. Two (N,1,S,S), the second 0 or 1; weights (S,S)."""
    clear = mask.float().clamp(1e-4, 1 - 1e-4)
    return (F.binary_cross_entropy(clear, wanted, reduction="none") * weights).mean()


def motion_loss(drawn: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Return the mean absolute difference of what changes from frame to frame. Two (R,5,3,S,S), (S,S) -> scalar."""
    return ((drawn.diff(dim=1) - wanted.diff(dim=1)).abs() * weights).mean()


def matching_loss(audio: Tensor, face: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Ask each face to find its sound and each sound its face within a clip (InfoNCE, both ways).

    audio, face (C,M,D) of unit length, scale a scalar. Returns the loss and the share of faces that found theirs.
    """
    likeness = scale * torch.einsum("cmd,cnd->cmn", face, audio)  # (C, faces, sounds)
    own = torch.arange(likeness.shape[1], device=likeness.device).expand(likeness.shape[0], -1)
    loss = F.cross_entropy(likeness.mT, own) + F.cross_entropy(likeness, own)  # classes stand in dimension 1
    found = (likeness.argmax(2) == own).float().mean()
    return loss / 2, found


def sync_loss(face: Tensor, audio: Tensor, others: Tensor, scale: Tensor) -> Tensor:
    """Ask a drawn mouth to be nearer to its sound than to other moments. (R,D), (R,D), (R,K,D) -> scalar."""
    sounds = torch.cat([audio[:, None], others], dim=1)  # (R,1+K,D)
    likeness = scale * torch.einsum("rd,rkd->rk", face, sounds)
    return F.cross_entropy(likeness, torch.zeros(len(face), dtype=torch.long, device=face.device))


def heard_loss(heard: Tensor, known: Tensor) -> Tensor:
    """Return the mean error of an articulation where it is known. Two (N,7), `known` may hold NaN -> scalar."""
    labelled = known.isfinite()
    error = F.smooth_l1_loss(heard, torch.where(labelled, known, heard.detach()), reduction="none")
    return (error * labelled).sum() / labelled.sum().clamp(min=1)


def critic_loss(filmed: Tensor, drawn: Tensor) -> Tensor:
    """Ask a critic to tell patches apart: logits of filmed and of drawn ones -> scalar, 2 ln 2 where it cannot."""
    return F.softplus(-filmed).mean() + F.softplus(drawn).mean()
