"""The networks of the authors' PyTorch code restated, to make files like theirs.

Written from their layout in recipe.md: names and shapes of tensors are theirs. Nothing of
`unpaired` is used here.
"""

import torch
from torch import nn


def norm(channels, old=False):
    """Their instance norm; old ones carried running statistics, in files at least."""
    return nn.InstanceNorm2d(channels, affine=False, track_running_stats=old)


class ResnetBlock(nn.Module):
    def __init__(self, channels, dropout, old):
        super().__init__()
        half = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels, old)]
        between = [nn.ReLU()] + ([nn.Dropout(0.5)] if dropout else [])
        other = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels, old)]
        self.conv_block = nn.Sequential(*half, *between, *other)

    def forward(self, x):
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    def __init__(self, input_nc=3, output_nc=3, ngf=64, n_blocks=9, use_dropout=False, old=False):
        super().__init__()
        w = ngf
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(input_nc, w, 7), norm(w, old), nn.ReLU()]
        for k in (1, 2):
            conv = nn.Conv2d(w * k, w * k * 2, 3, stride=2, padding=1)
            layers += [conv, norm(w * k * 2, old), nn.ReLU()]
        layers += [ResnetBlock(w * 4, use_dropout, old) for _ in range(n_blocks)]
        for k in (2, 1):
            conv = nn.ConvTranspose2d(w * k * 2, w * k, 3, 2, padding=1, output_padding=1)
            layers += [conv, norm(w * k, old), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(w, output_nc, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


class NLayerDiscriminator(nn.Module):
    def __init__(self, input_nc=3, ndf=64, n_layers=3):
        super().__init__()
        layers = [nn.Conv2d(input_nc, ndf, 4, 2, 1), nn.LeakyReLU(0.2)]
        inner = ndf
        for n in range(1, n_layers + 1):
            outer = ndf * min(2**n, 8)
            stride = 2 if n < n_layers else 1
            layers += [nn.Conv2d(inner, outer, 4, stride, 1), norm(outer), nn.LeakyReLU(0.2)]
            inner = outer
        self.model = nn.Sequential(*layers, nn.Conv2d(inner, 1, 4, 1, 1))

    def forward(self, x):
        return self.model(x)


def randomised(network, seed):
    """`network` with random weights as large as trained ones, biases and statistics too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                scale = 0.5 if tensor.ndim == 1 else tensor[0].numel() ** -0.5
                tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
    return network
