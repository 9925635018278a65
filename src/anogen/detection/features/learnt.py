"""Features of a net that has learnt to find defects drawn into good pictures."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anogen.data.defects import add_defect
from anogen.data.images import Images
from anogen.detection.features.filters import FAINT, local_contrast
from anogen.detection.view import State, View, exactly
from anogen.nets.segmenter import Segmenter
from anogen.progress import Progress

STEPS = 1200
BATCH = 16
RATE = 3e-3
DECAY = 1e-2
CROP = 128
"""Height and width of the parts of larger pictures that the net learns from."""
GOOD = 4
"""Of so many pictures in training, one has no defect."""
FOCUS = 2.0
"""Exponent by which pixels that are right already count less; Lin et al. 2017."""
MARKED = 5.0
"""How much more a pixel of a defect counts than another one."""
SHIFT = 1 / 32
"""Largest shift in training, of a picture's side."""


def net_input(x: Tensor) -> Tensor:
    """What the net looks at: light and colour, and local contrast, `[b, 2c, h, w]`."""
    usual = (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + FAINT)
    return torch.cat([usual, local_contrast(x)], 1)


def learn_defects(images: Images, device: torch.device, seed: int = 0) -> State:
    """Train the net on good pictures with defects drawn into them; its weights.

    The same pictures and the same seed give the same weights on the same machine.
    """
    c, h, w = images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Segmenter(2 * c, images.shape)
    net = net.to(device, memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    generator = np.random.default_rng(seed)
    bar = Progress("learning what defects look like", STEPS, "steps")
    with torch.enable_grad(), torch.inference_mode(False), exactly(), bar:
        for _ in range(STEPS):
            x, marked = _drawn(images, generator)
            inputs = net_input(torch.from_numpy(x).to(device))
            target = torch.from_numpy(marked).to(device).float()[:, None]
            top, left = (int(generator.integers(max(1, side - CROP + 1))) for side in (h, w))
            part = (..., slice(top, top + CROP), slice(left, left + CROP))
            logit = net(inputs[part].contiguous(memory_format=torch.channels_last))
            loss = _focal(logit, target[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.advance(1)
    return {key: value.detach().cpu() for key, value in net.state_dict().items()
            if key.startswith("down.")}  # fmt: skip


def _focal(logit: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in which pixels that are right already count little."""
    each = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
    wrong = 1 - torch.exp(-each)
    return (wrong**FOCUS * each * (1 + (MARKED - 1) * target)).mean()


def _drawn(
    images: Images, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A batch of good pictures, most with a defect or two, and where these are."""
    pictures: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    for index in range(BATCH):
        picture = _varied(_any(images, generator), generator)
        mask = np.zeros(picture.shape[1:], np.bool_)
        if index % GOOD:
            for _ in range(1 + int(generator.random() < 0.3)):
                picture, more = add_defect(picture, _any(images, generator), generator)
                mask |= more
        pictures.append(picture)
        masks.append(mask)
    return np.stack(pictures), np.stack(masks)


def _any(images: Images, generator: np.random.Generator) -> NDArray[np.float32]:
    index = int(generator.integers(len(images)))
    pixels = np.array(images.pixels[index : index + 1])[0]
    return pixels.astype(np.float32) / np.float32(255)


def _varied(picture: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """The same, mirrored, moved a little, lighter or darker."""
    if generator.random() < 0.5:
        picture = picture[:, :, ::-1]
    for axis in (1, 2):
        most = int(picture.shape[axis] * SHIFT)
        by = int(generator.integers(-most, most + 1))
        place = np.abs(np.arange(picture.shape[axis]) + by)
        last = picture.shape[axis] - 1
        picture = picture.take(last - np.abs(last - place), axis)
    contrast, light = generator.uniform(0.8, 1.25), generator.uniform(-0.1, 0.1)
    return np.clip((picture - 0.5) * contrast + 0.5 + light, 0, 1).astype(np.float32)


def learnt_maps(view: View, weights: State) -> list[Tensor]:
    """What the net sees on its way down, finest first: `[b, k, h', w']`."""
    net = view.of_state(_net_of, weights).to(view.x.device)
    return net.features(net_input(view.x))


def _net_of(weights: State) -> Segmenter:
    levels = 1 + max(int(key.split(".")[1]) for key in weights)
    inputs = weights["down.0.0.weight"].shape[1]
    net = Segmenter(inputs, (inputs, 4 << (levels - 1), 4 << (levels - 1))).eval()
    net.load_state_dict(weights, strict=False)
    return net.requires_grad_(False)
