import numpy as np
import torch

from anogen import Images
from anogen.data import batches as batches_module
from anogen.data.batches import Shuffled, in_order, to_unit

CPU = torch.device("cpu")
NUMBERED = Images(np.arange(103, dtype=np.uint8).reshape(103, 1, 1, 1), "numbered")


def numbers(batches) -> list[list[int]]:
    return [(x * 255).round().int().flatten().tolist() for x, _ in batches]


def test_an_epoch_has_full_batches_of_different_images():
    found = numbers(Shuffled(NUMBERED, 10, 0, CPU).epoch(0))
    assert [len(batch) for batch in found] == [10] * 10
    assert len({image for batch in found for image in batch}) == 100


def test_batches_are_a_function_of_seed_epoch_and_position():
    batches = Shuffled(NUMBERED, 10, 7, CPU)
    whole = numbers(batches.epoch(4))
    assert numbers(Shuffled(NUMBERED, 10, 7, CPU).epoch(4, start=6)) == whole[6:]
    assert numbers(batches.epoch(5)) != whole
    assert numbers(Shuffled(NUMBERED, 10, 8, CPU).epoch(4)) != whole


def test_a_small_data_set_is_one_batch():
    assert [len(x) for x in numbers(Shuffled(NUMBERED[:7], 10, 0, CPU).epoch(0))] == [7]


def test_in_order_leaves_nothing_out(monkeypatch):
    monkeypatch.setattr(batches_module, "EVALUATION_VALUES", 10)
    found = numbers(in_order(NUMBERED, CPU))
    assert [len(batch) for batch in found] == [8] * 12 + [7]
    assert [image for batch in found for image in batch] == list(range(103))


def test_scaling_is_exact_and_channels_last():
    x = to_unit(torch.arange(256, dtype=torch.uint8).view(1, 4, 8, 8))
    assert torch.equal(x.flatten(), torch.arange(256) / 255)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_memory_mapped_images_are_not_changed(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERED.pixels)
    mapped = Images(np.load(tmp_path / "x.npy", mmap_mode="r"), "mapped")
    assert numbers(in_order(mapped, CPU)) == numbers(in_order(NUMBERED, CPU))
    assert numbers(Shuffled(mapped, 50, 0, CPU).epoch(0)) == numbers(
        Shuffled(NUMBERED, 50, 0, CPU).epoch(0)
    )
