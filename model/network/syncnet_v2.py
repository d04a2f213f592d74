"""The SyncNet that the metrics LSE-D and LSE-C are measured with.

Architecture: Chung and Zisserman 2016, https://www.robots.ox.ac.uk/~vgg/publications/2016/Chung16a/. The names of
parameters are those of the published weights (`netcnnaud.0.weight`); the code is ours.
"""

from __future__ import annotations

from torch import Tensor, nn


def _conv2(inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _conv3(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int, padding: int) -> list[nn.Module]:
    conv = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (0, padding, padding))
    return [conv, nn.BatchNorm3d(outputs), nn.ReLU()]


def _pool3(padding: int = 0) -> nn.MaxPool3d:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNetV2(nn.Module):
    """SyncNet: embeds 0.2 s of sound and of face. Chung and Zisserman 2016.

    mfcc (N,1,13,20) -> audio (N,1024); frames (N,3,5,224,224) in 0..255 -> lip (N,1024).
    """

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2(1, 64),
            nn.MaxPool2d(1, 1),
            *_conv2(64, 192),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2(192, 384),
            *_conv2(384, 256),
            *_conv2(256, 256),
            nn.MaxPool2d(3, 2),
            *_conv2(256, 512, kernel=(5, 4), padding=0),
        )
        self.netfcaud = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3(3, 96, (5, 7, 7), stride=2, padding=0),
            _pool3(),
            *_conv3(96, 256, (1, 5, 5), stride=2, padding=1),
            _pool3(padding=1),
            *_conv3(256, 256, (1, 3, 3), stride=1, padding=1),
            *_conv3(256, 256, (1, 3, 3), stride=1, padding=1),
            *_conv3(256, 256, (1, 3, 3), stride=1, padding=1),
            _pool3(),
            *_conv3(256, 512, (1, 6, 6), stride=1, padding=0),
        )
        self.netfclip = _head()

    def embed_audio(self, mfcc: Tensor) -> Tensor:
        """Embed MFCC windows, (N,1,13,20) -> (N,1024)."""
        vector: Tensor = self.netfcaud(self.netcnnaud(mfcc).flatten(1))
        return vector

    def embed_lip(self, frames: Tensor) -> Tensor:
        """Embed five frames, (N,3,5,224,224) in 0..255 -> (N,1024)."""
        vector: Tensor = self.netfclip(self.netcnnlip(frames).flatten(1))
        return vector
