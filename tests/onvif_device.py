"""A small ONVIF device for tests: enough of Profile S to be found, and to say where its stream is.

WS-Discovery 1.1 over UDP (unicast to its own port; a real device listens on 239.255.255.250:3702), SOAP 1.2
over HTTP, user name tokens with digest (OASIS WSS UsernameToken Profile 1.0).
"""

import base64
import contextlib
import hashlib
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_NAMESPACES = (
    f'xmlns:s="{_SOAP}" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" '
    'xmlns:trt="http://www.onvif.org/ver10/media/wsdl" xmlns:tt="http://www.onvif.org/ver10/schema" '
    'xmlns:ter="http://www.onvif.org/ver10/error"'
)
_PROBE_MATCH = """<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
 xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"
 xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
 <s:Header><a:RelatesTo>{probe}</a:RelatesTo></s:Header>
 <s:Body><d:ProbeMatches><d:ProbeMatch>
  <a:EndpointReference><a:Address>urn:uuid:11111111-2222-3333-4444-555555555555</a:Address></a:EndpointReference>
  <d:Types>dn:NetworkVideoTransmitter</d:Types>
  <d:Scopes>onvif://www.onvif.org/name/Front%20Gate onvif://www.onvif.org/hardware/TC-1
   onvif://www.onvif.org/Profile/Streaming</d:Scopes>
  <d:XAddrs>{address}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>
 </d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"""


class OnvifDevice:
    """Names one stream per profile (token to rtsp URL); a context manager that runs in threads."""

    def __init__(
        self, streams: dict[str, str], login: tuple[str, str] | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.streams, self.login = streams, login
        self.host = f"[{host}]" if ":" in host else host
        self.frozen = threading.Event()
        self._stopped = threading.Event()
        device = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                device.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        self._server = Server((host, 0), Handler)
        self._server.daemon_threads = True
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True),
            threading.Thread(target=self._answer_probes, daemon=True),
        ]

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def discovery_address(self) -> tuple[str, int]:
        """Where it hears probes."""
        host, port = self._udp.getsockname()
        return str(host), int(port)

    def url(self, login: str = "", query: str = "") -> str:
        return f"onvif://{login}{self.host}:{self.port}{query}"

    def __enter__(self) -> "OnvifDevice":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(OSError):  # wakes the thread that waits for probes
            self._udp.sendto(b"", self.discovery_address)
        for thread in self._threads:
            thread.join(timeout=5)
        self._udp.close()

    def _answer_probes(self) -> None:
        while not self._stopped.is_set():
            data, sender = self._udp.recvfrom(8192)
            probe = re.search(rb"MessageID>([^<]+)<", data)
            if probe and b"Probe" in data:
                address = f"http://127.0.0.1:{self.port}/onvif/device_service"
                answer = _PROBE_MATCH.format(probe=probe[1].decode(), address=address)
                for _ in range(2):  # UDP: real devices repeat themselves
                    self._udp.sendto(answer.encode(), sender)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        envelope = request.rfile.read(int(request.headers["Content-Length"]))
        while self.frozen.is_set() and not self._stopped.wait(0.02):
            continue
        root = ElementTree.fromstring(envelope)
        body = root.find(f"{{{_SOAP}}}Body")
        assert body is not None
        action = body[0].tag.partition("}")[2]
        if action != "GetSystemDateAndTime" and not self._allows(root):
            self._send(request, 400, _fault("ter:NotAuthorized", "Sender not authorized"))
        elif action == "GetServices":
            self._send(request, 200, self._services())
        elif action == "GetProfiles":
            self._send(request, 200, self._profiles())
        elif action == "GetStreamUri":
            token = next(
                (part.text or "" for part in body[0].iter() if part.tag.endswith("ProfileToken")), ""
            )
            self._send(request, 200, self._stream_uri(token))
        else:
            self._send(request, 500, _fault("ter:ActionNotSupported", "Optional Action Not Implemented"))

    def _services(self) -> str:
        services = "".join(
            f"<tds:Service><tds:Namespace>http://www.onvif.org/ver10/{name}/wsdl</tds:Namespace>"
            # As many cameras behind a router do, it names an address of its own that nobody else can reach.
            f"<tds:XAddr>http://192.0.2.1/onvif/{name}_service</tds:XAddr>"
            "<tds:Version><tt:Major>2</tt:Major><tt:Minor>60</tt:Minor></tds:Version></tds:Service>"
            for name in ("device", "media")
        )
        return f"<tds:GetServicesResponse>{services}</tds:GetServicesResponse>"

    def _profiles(self) -> str:
        profiles = "".join(
            f'<trt:Profiles token="{token}" fixed="true"><tt:Name>{token}</tt:Name></trt:Profiles>'
            for token in self.streams
        )
        return f"<trt:GetProfilesResponse>{profiles}</trt:GetProfilesResponse>"

    def _stream_uri(self, token: str) -> str:
        if token not in self.streams:
            return _fault("ter:NoProfile", "no such profile")
        return (
            "<trt:GetStreamUriResponse><trt:MediaUri>"
            f"<tt:Uri>{self.streams[token]}</tt:Uri>"
            "<tt:InvalidAfterConnect>false</tt:InvalidAfterConnect>"
            "<tt:InvalidAfterReboot>false</tt:InvalidAfterReboot><tt:Timeout>PT0S</tt:Timeout>"
            "</trt:MediaUri></trt:GetStreamUriResponse>"
        )

    def _allows(self, root: ElementTree.Element) -> bool:
        if self.login is None:
            return True
        token = root.find(f".//{{{_WSSE}}}UsernameToken")
        if token is None:
            return False
        user, given, nonce = (
            token.findtext(f"{{{_WSSE}}}{name}", "") for name in ("Username", "Password", "Nonce")
        )
        created = token.findtext(f"{{{_WSU}}}Created", "")
        digest = hashlib.sha1(
            base64.b64decode(nonce) + (created + self.login[1]).encode(), usedforsecurity=False
        )
        return (user, given) == (self.login[0], base64.b64encode(digest.digest()).decode())

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, body: str) -> None:
        data = (
            f'<?xml version="1.0" encoding="UTF-8"?>'
            f"<s:Envelope {_NAMESPACES}><s:Body>{body}</s:Body></s:Envelope>"
        ).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/soap+xml; charset=utf-8")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


def _fault(subcode: str, text: str) -> str:
    return (
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value>"
        f"<s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{text}</s:Text></s:Reason></s:Fault>'
    )
