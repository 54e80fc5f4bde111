import pytest
import torch

from core.errors import SettingsError
from models.training.team import Team, join_team


def test_a_batch_is_shared_evenly_and_wholly() -> None:
    parts = [list(Team(rank, 3).slots(6)) for rank in range(3)]
    assert parts == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(SettingsError, match=r"expected a multiple of the 3 processes .* got 8"):
        Team(0, 3).slots(8)


def test_a_process_alone_is_its_own_leader_and_pays_nothing() -> None:
    team, device = join_team(torch.device("cpu"))
    assert (team, device) == (Team(), torch.device("cpu"))
    network, value = torch.nn.Linear(2, 2), torch.ones(())
    assert team.is_leader
    assert team.wrap(network) is network
    assert team.mean(value) is value
    assert team.as_leader_says(0.5) == 0.5
    team.leave()


def test_the_others_of_a_team_lead_nothing() -> None:
    assert [Team(rank, 2).is_leader for rank in range(2)] == [True, False]
