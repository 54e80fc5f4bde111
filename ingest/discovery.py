"""Finding cameras on the local network: WS-Discovery (OASIS, 2009), which every ONVIF camera answers."""

import logging
import math
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import psutil

from core.errors import SourceError
from core.urls import split_url

MULTICAST = ("239.255.255.250", 3702)
_SCOPE = "onvif://www.onvif.org/"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """What a camera says about itself to anybody who asks."""

    url: str
    """onvif://HOST[:PORT], to be completed with a login."""
    name: str
    """As its maker or its owner called it; empty where it says none."""
    hardware: str
    device: str
    """An address of the device that stays the same (urn:uuid:...)."""


def discover(
    timeout_s: float = 3.0, interface: str | None = None, target: tuple[str, int] | None = None
) -> list[FoundCamera]:
    """The cameras that answer within `timeout_s`, by URL; each once.

    Asks on every network that this machine is in, or on that of `interface` (one of this machine's own IPv4
    addresses). Raises SourceError for an address that is none of this machine's.
    """
    own = _own_addresses()
    if interface is not None and interface not in own:
        raise SourceError(f"expected an IPv4 address of this machine ({', '.join(own)}), got {interface}")
    addresses = [interface] if interface else [one for one in own if not one.startswith("127.")]
    if not addresses:
        raise SourceError("expected a network that this machine is in, got none but loopback")
    with ThreadPoolExecutor(len(addresses)) as pool:
        answers = pool.map(lambda address: _probe(address, timeout_s, target or MULTICAST), addresses)
        found = [device for devices in answers for device in devices]
    return _distinct(_read(device) for device in found)


def _own_addresses() -> Sequence[str]:
    networks = psutil.net_if_addrs().values()
    return sorted(
        {one.address for addresses in networks for one in addresses if one.family == socket.AF_INET}
    )


def _probe(address: str, timeout_s: float, target: tuple[str, int]) -> list[dict[str, Any]]:
    from onvif import ONVIFDiscovery

    logging.getLogger("onvif").setLevel(logging.CRITICAL)

    class Probe(ONVIFDiscovery):  # type: ignore[misc]
        WS_DISCOVERY_ADDRESS_IPV4, WS_DISCOVERY_PORT = target

        def _process_device(self, discovered_devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
            """Leaves out what the library does next: to log in to each device without a login."""
            return discovered_devices

    return list(Probe(timeout=math.ceil(timeout_s), interface=address).discover())


def _read(device: dict[str, Any]) -> FoundCamera:
    address = split_url(next(iter(device.get("xaddrs") or ()), ""))
    port = (address.port or _DEFAULT_PORTS.get(address.scheme)) if address else None
    host, port = device["host"], port or _DEFAULT_PORTS["http"]
    shown = f"[{host}]" if ":" in host else host
    return FoundCamera(
        url=f"onvif://{shown}" + ("" if port == _DEFAULT_PORTS["http"] else f":{port}"),
        name=_scope(device, "name"),
        hardware=_scope(device, "hardware"),
        device=str(device.get("epr", "")),
    )


def _scope(device: dict[str, Any], kind: str) -> str:
    prefix = f"{_SCOPE}{kind}/"
    found = next((one for one in device.get("scopes", ()) if one.lower().startswith(prefix)), "")
    return unquote(found[len(prefix) :])


def _distinct(cameras: Iterable[FoundCamera]) -> list[FoundCamera]:
    """Devices repeat their answers, and are found on more than one network."""
    return sorted(
        {camera.device or camera.url: camera for camera in cameras}.values(), key=lambda one: one.url
    )
