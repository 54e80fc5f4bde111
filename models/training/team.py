"""The processes that train one network together: one alone, or as many as torchrun has started."""

from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from core.errors import SettingsError

PATIENCE = timedelta(hours=1)
"""How long the others wait for one of them: the leader scores and writes while they do."""


@dataclass(frozen=True, slots=True)
class Team:
    """This process among those of its run. All of them take the same steps, each on its part of a batch."""

    rank: int = 0
    size: int = 1

    @property
    def is_leader(self) -> bool:
        """Whether this process writes files and tells of progress."""
        return self.rank == 0

    def slots(self, batch_size: int) -> range:
        """This process' part of a batch. Raises SettingsError for a batch that cannot be shared evenly."""
        if batch_size % self.size:
            raise SettingsError(
                f"batch size: expected a multiple of the {self.size} processes that train together, "
                f"got {batch_size}"
            )
        part = batch_size // self.size
        return range(self.rank * part, (self.rank + 1) * part)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the team; the leader's weights are everyone's."""
        return network if self.size == 1 else DistributedDataParallel(network)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the team, without a gradient."""
        if self.size > 1:
            value = value.detach().clone()
            distributed.all_reduce(value)
            value /= self.size
        return value

    def as_leader_says(self, value: float) -> float:
        """The leader's value, so that all take the same decisions."""
        if self.size == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            box = box.cuda()
        distributed.broadcast(box, src=0)
        return float(box)

    def leave(self) -> None:
        """Wait for the others and part; to be called at the end of a run."""
        if self.size > 1:
            distributed.barrier()
            distributed.destroy_process_group()


def join_team(device: torch.device) -> tuple[Team, torch.device]:
    """The team that torchrun has started, if it has, and this process' device: one CUDA device each."""
    if not distributed.is_torchelastic_launched():
        return Team(), device
    on_cuda = device.type == "cuda"
    distributed.init_process_group("nccl" if on_cuda else "gloo", timeout=PATIENCE)
    if on_cuda:
        device = torch.device("cuda", distributed.get_node_local_rank())
        torch.cuda.set_device(device)
    return Team(distributed.get_rank(), distributed.get_world_size()), device
