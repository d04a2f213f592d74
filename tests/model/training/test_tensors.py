import numpy as np
import torch

from model.training.tensors import to_faces, to_sound, vary_faces


def test_arrays_become_the_inputs_of_networks() -> None:
    crops = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    faces = to_faces(crops, torch.device("cpu"))
    assert faces.shape == (2, 3, 4, 4)
    assert float(faces[1, 2, 3, 3]) == np.float32(95) / np.float32(255)
    assert to_sound(np.zeros((2, 80, 16), np.float32), torch.device("cpu")).shape == (2, 1, 80, 16)


def test_colours_are_shared_within_a_group() -> None:
    faces = torch.rand(1, 3, 8, 8).expand(7, 3, 8, 8).contiguous()
    varied, again = vary_faces(np.random.default_rng(1), [faces, faces.clone()], [5, 1, 1])
    torch.testing.assert_close(varied, again)
    torch.testing.assert_close(varied[:5], varied[:1].expand(5, 3, 8, 8))
    assert not torch.allclose(varied[0], varied[6])
