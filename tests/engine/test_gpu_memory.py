"""A limit on a process's GPU memory."""

import pytest
import torch

from dsactl.engine.memory import free_gpu_memory, limit_gpu_memory
from dsactl.errors import is_out_of_memory

GPU = torch.device("cuda")


@pytest.mark.gpu
def test_a_part_of_a_gpu_is_all_there_is() -> None:
    _, total = torch.cuda.mem_get_info(GPU)
    held = torch.empty(2**28, dtype=torch.uint8, device=GPU)
    try:
        limit_gpu_memory(GPU, 0.1)
        assert 0 < free_gpu_memory(GPU) <= 0.1 * total - len(held)
        with pytest.raises(torch.OutOfMemoryError) as raised:
            torch.empty(int(0.1 * total), dtype=torch.uint8, device=GPU)
        assert is_out_of_memory(raised.value)
    finally:
        limit_gpu_memory(GPU, 1.0)
    assert free_gpu_memory(GPU) > 0.1 * total
