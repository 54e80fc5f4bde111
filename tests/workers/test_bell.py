import json
import pickle
from functools import partial
from pathlib import Path

import pytest
import redis

from core.errors import QueueUnavailableError
from core.redis_server import EmbeddedRedis
from workers.bell import bell_queue, model_of_queue, ring

pytestmark = pytest.mark.redis


def test_a_bell_is_one_json_message_for_the_task_in_the_queue_of_its_model(redis_url: str) -> None:
    ring("thin", redis_url=redis_url, namespace="fleet")
    with redis.Redis.from_url(redis_url) as client:
        (message,) = client.lrange("fleet:celery:detect.thin", 0, -1)
    envelope = json.loads(message)
    assert envelope["headers"]["task"] == "workers.tasks.detect"
    assert envelope["content-type"] == "application/json"
    assert len(message) < 2000


def test_fleets_on_one_server_hear_their_own_bells_only(redis_url: str) -> None:
    ring("thin", redis_url=redis_url, namespace="north")
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("north:celery:detect.thin") == 1
        assert all(key.startswith(b"north:celery:") for key in client.scan_iter())


def test_the_bell_of_a_spawned_process_pickles(redis_url: str) -> None:
    bell = partial(ring, redis_url=redis_url, namespace="fleet")
    pickle.loads(pickle.dumps(bell))("thin")
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("fleet:celery:detect.thin") == 1


@pytest.mark.parametrize("model", ["resnet50_thin_fpn", "/weights/my detector.safetensors", "detect.odd"])
def test_queue_and_model_name_each_other(model: str) -> None:
    assert model_of_queue(bell_queue(model)) == model
    assert model_of_queue("celery") is None


def test_a_bell_rings_again_as_soon_as_a_restarted_broker_is_back(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        bell = partial(ring, redis_url=server.url, namespace="fleet")
        bell("thin")
        server.kill()
        with pytest.raises(QueueUnavailableError, match="the bell of thin did not ring"):
            bell("thin")
        server.start()
        bell("thin")
        with redis.Redis.from_url(server.url) as client:
            assert client.llen("fleet:celery:detect.thin") == 1
