"""What a rank needs to write its part of a state beside that part itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.training_fork_server import world

NUMBERS, TENSORS = 2**20, 64  # 4 MiB each, 256 MiB in all
WRITE = f"""
import resource, sys
from pathlib import Path
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from pairuni_train.distributed import sharded_files
torch.distributed.init_process_group("gloo")
sharded_files._FILE = 8 * 2**20
mesh = init_device_mesh("cpu", (2,))
state = {{}}
for number in range({TENSORS}):
    whole = torch.full((1024, {NUMBERS} // 1024), float(number))
    state[f"layer.{{number}}"] = distribute_tensor(whole, mesh, [Shard(0)])
    del whole
state["step"] = torch.tensor(7.0)
folder = Path(sys.argv[1])
if torch.distributed.get_rank() == 0:
    folder.mkdir()
torch.distributed.barrier()
sharded_files.write_parts({{"layer.0": state["layer.0"]}}, folder / "first")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sharded_files.write_parts(state, folder / "parts")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_writing_takes_less_than_a_tenth_of_the_part_more(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(tmp_path / "state")],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        for environment in world(2)
    ]
    more = [int(rank.communicate(timeout=600)[0].split()[-1]) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    part = TENSORS * NUMBERS * 4 // 2
    assert max(more) < 0.1 * part, more

    from pairuni_train.distributed.sharded_files import read_whole

    found = read_whole(tmp_path / "state" / "parts")
    assert float(found["layer.63"].mean()) == 63.0
    assert found["layer.5"].shape == (1024, NUMBERS // 1024)
    assert found["step"].tolist() == [7.0]
