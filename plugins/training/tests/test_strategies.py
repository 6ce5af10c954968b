from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from wf.errors import UsageError
from wf.protocols import Strategy
from wf_training.strategies import DDPStrategy, LocalStrategy

CPU = torch.device("cpu")
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29876"}


def test_local_changes_nothing() -> None:
    strategy: Strategy = LocalStrategy(CPU)
    model, tensor = nn.Linear(2, 1), torch.ones(3)
    assert (strategy.device, strategy.rank, strategy.world_size) == (CPU, 0, 1)
    assert strategy.prepare(model) is model
    assert strategy.bare(model) is model
    assert (strategy.agree(True), strategy.agree(False)) == (True, False)
    assert strategy.sum([tensor])[0] is tensor
    assert strategy.gather(tensor) is tensor
    strategy.close()


def test_local_moves_the_model() -> None:
    assert LocalStrategy(torch.device("meta")).prepare(nn.Linear(2, 1)).weight.device.type == "meta"


@pytest.mark.parametrize("missing", TORCHRUN)
def test_ddp_without_torchrun_shows_the_command(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(UsageError, match=rf"(?s){missing} not set.*wf run ... --processes 2"):
        DDPStrategy(CPU)


def test_ddp_refuses_contradicting_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="backend nccl needs CUDA"):
        DDPStrategy(CPU, "nccl")
    with pytest.raises(UsageError, match="sync_batch_norm is for CUDA, and the device is cpu"):
        DDPStrategy(CPU, sync_batch_norm=True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UsageError, match="at most 1 processes"):
        DDPStrategy(torch.device("cuda"))
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(UsageError, match="must be numbers"):
        DDPStrategy(CPU)


# The program of each of two processes; it asserts itself, so that a failure in either one fails the test.
WORKER = """
import os, sys, warnings
warnings.simplefilter("error")
from pathlib import Path
import torch
from torch import nn
from wf.errors import UsageError
from wf_training.strategies import DDPStrategy

torch.set_num_threads(1)
strategy = DDPStrategy(torch.device("cpu"))
rank = strategy.rank
assert (strategy.world_size, strategy.device.type, torch.distributed.get_backend()) == (2, "cpu", "gloo")

# agree: true anywhere is true everywhere
assert [strategy.agree(rank == 0), strategy.agree(rank == 1), strategy.agree(False)] == [True, True, False]

# sum leaves its arguments alone, keeps dtypes, takes any strides
mine = torch.arange(6).reshape(2, 3).T + rank
total, ratio = strategy.sum([mine, torch.tensor(0.5, dtype=torch.float64)])
assert torch.equal(total, 2 * torch.arange(6).reshape(2, 3).T + 1) and total.dtype == torch.int64
assert torch.equal(mine, torch.arange(6).reshape(2, 3).T + rank)
assert ratio.item() == 1.0 and ratio.dtype == torch.float64
assert strategy.sum([]) == []

# gather: different lengths, none at all, any dtype, in the order of the ranks
for dtype in (torch.float32, torch.int64, torch.bool, torch.bfloat16):
    parts = [torch.tensor([[1, 0]]).to(dtype), torch.tensor([[0, 1], [1, 1], [0, 0]]).to(dtype)]
    assert torch.equal(strategy.gather(parts[rank]), torch.cat(parts))
    assert torch.equal(strategy.gather(parts[rank][: 3 * rank]), parts[1])
assert strategy.gather(torch.zeros(0, 4)).shape == (0, 4)

# training: other initial weights and other halves of the data give the weights of the whole batch
torch.manual_seed(0)
inputs, targets = torch.randn(8, 3), torch.randn(8, 1)
alone = nn.Linear(3, 1)
torch.manual_seed(rank)
model = nn.Linear(3, 1)
if rank == 0:
    model.load_state_dict(alone.state_dict())
wrapped = strategy.prepare(model)
assert wrapped is not model and strategy.bare(wrapped) is model and strategy.bare(model) is model
for net, half in ((alone, slice(None)), (wrapped, slice(rank, None, 2))):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(inputs[half]), targets[half]).backward()
        optimizer.step()
weights = strategy.gather(model.weight)
assert torch.equal(weights[0], weights[1])
torch.testing.assert_close(model.weight, alone.weight)
try:
    strategy.prepare(nn.ReLU())
except UsageError as error:
    assert "no parameters to train" in str(error)
else:
    raise AssertionError

strategy.close()
strategy.close()
assert not torch.distributed.is_initialized()
(Path(sys.argv[1]) / f"done-{rank}").touch()
os._exit(0)  # a thread of the group that wakes while the interpreter is taken down aborts it, see wf_run.cli.running
"""


@pytest.mark.exhaustive
def test_ddp_trains_with_two_processes(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(worker)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "done-0").exists()
    assert (tmp_path / "done-1").exists()
