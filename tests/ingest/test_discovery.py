"""Finding cameras by WS-Discovery."""

import pytest

from core.errors import SourceError
from ingest.discovery import FoundCamera, discover
from tests.onvif_device import OnvifDevice


def test_a_device_is_found_once_with_the_address_to_add_it_by() -> None:
    with OnvifDevice({"main": "rtsp://192.0.2.1/main"}, login=("viewer", "right")) as device:
        found = discover(1, "127.0.0.1", device.discovery_address)
    assert found == [
        FoundCamera(
            url=f"onvif://127.0.0.1:{device.port}",
            name="Front Gate",
            hardware="TC-1",
            device="urn:uuid:11111111-2222-3333-4444-555555555555",
        )
    ]


def test_where_nobody_answers_nothing_is_found() -> None:
    assert discover(1, "127.0.0.1", ("127.0.0.1", 9)) == []


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(
        SourceError, match=r"expected an IPv4 address of this machine \(.*127.0.0.1.*\), got 192"
    ):
        discover(1, "192.0.2.1")
