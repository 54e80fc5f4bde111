"""Answers to HTTP's "who are you": basic and digest access (RFC 7617, RFC 7616)."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from urllib.request import parse_http_list, parse_keqv_list

_DIGESTS = {"md5": hashlib.md5, "sha-256": hashlib.sha256}


@dataclass(frozen=True, slots=True)
class Login:
    """User and password, percent-decoded."""

    user: str
    password: str

    def answer(self, challenge: str, method: str, path: str) -> str | None:
        """The Authorization header for a WWW-Authenticate header; None when its kind is not known."""
        kind, _, fields = challenge.partition(" ")
        if kind.lower() == "basic":
            return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if kind.lower() == "digest":
            try:
                challenged = parse_keqv_list(parse_http_list(fields))
            except (ValueError, IndexError):  # not a list of name="value"
                return None
            return self._digest(challenged, method, path)
        return None

    def _digest(self, challenge: dict[str, str], method: str, path: str) -> str | None:
        algorithm = challenge.get("algorithm", "MD5")
        function = _DIGESTS.get(algorithm.lower())
        if function is None:
            return None

        def digest(*parts: str) -> str:
            return function(":".join(parts).encode()).hexdigest()

        realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
        who, what = digest(self.user, realm, self.password), digest(method, path)
        answer = {"username": self.user, "realm": realm, "nonce": nonce, "uri": path, "algorithm": algorithm}
        if "auth" in challenge.get("qop", ""):
            count, ours = "00000001", secrets.token_hex(8)
            answer |= {"cnonce": ours, "response": digest(who, nonce, count, ours, "auth", what)}
            unquoted = f", qop=auth, nc={count}"
        else:
            answer["response"], unquoted = digest(who, nonce, what), ""
        if "opaque" in challenge:
            answer["opaque"] = challenge["opaque"]
        return "Digest " + ", ".join(f'{name}="{value}"' for name, value in answer.items()) + unquoted
