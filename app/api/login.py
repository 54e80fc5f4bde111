"""Browsers log in with a token and keep a session: an opaque cookie that no script or other site can use."""

from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from app.api.access import SESSION_COOKIE, WRONG_TOKEN, Doorkeeper
from app.api.problems import ProblemError
from app.api.services import Services
from storage.tokens import SESSION_LASTS, close_session, open_session

router = APIRouter(include_in_schema=False)

MOST_BYTES = 4096
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{refresh}<title>Log in to framewatch</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 1rem }}
main {{ display: grid; place-items: center; min-height: 90vh }}
form {{ display: grid; gap: 1rem; width: min(24rem, 100%) }}
h1 {{ font-size: 1.25rem; margin: 0 }}
label {{ display: grid; gap: .25rem }}
input, button {{ font: inherit; padding: .6rem .75rem; border-radius: .4rem; border: 1px solid GrayText }}
button {{ background: #1f5fbf; color: #fff; border-color: #1f5fbf; cursor: pointer }}
p {{ margin: 0 }}
</style>
</head>
<body>
<main>
<form method="post" action="/login">
<h1>framewatch</h1>
{notice}<label>Token
<input type="password" name="token" required autofocus autocomplete="current-password"></label>
<input type="hidden" name="next" value="{next}">
<button>Log in</button>
<p>On the server, <code>framewatch token add NAME</code> makes a token.</p>
</form>
</main>
</body>
</html>
"""
_NOTICE = "This token is wrong, was revoked or has ended."
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"


def login_page(connection: HTTPConnection, problem: ProblemError) -> HTMLResponse:
    """Asks for a token, with the code and headers of the refusal that it stands for.

    Browsers withhold a strict cookie where a link of another site leads here; loading the page once more,
    from here, brings it along.
    """
    came_by_link = connection.headers.get("sec-fetch-site") == "cross-site"
    target = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
    return _page(target, problem, refresh=came_by_link)


def _page(target: str, problem: ProblemError, *, notice: str = "", refresh: bool = False) -> HTMLResponse:
    html = _PAGE.format(
        next=escape(local_path(target)),
        notice=f'<p role="alert">{escape(notice)}</p>\n' if notice else "",
        refresh='<meta http-equiv="refresh" content="0">\n' if refresh else "",
    )
    return HTMLResponse(html, problem.status, {"Content-Security-Policy": _POLICY, **problem.headers})


def local_path(target: str) -> str:
    """The path if it leads to this server, else the first page."""
    leads_away = not target.startswith("/") or target[1:2] in ("/", "\\") or not target.isprintable()
    return "/" if leads_away or target.startswith("/login") else target


@router.post("/login")
async def log_in(request: Request) -> Response:
    """A form with `token` and `next`: begins a session and goes on to `next`; 401 for a wrong token."""
    body = await request.body()
    if len(body) > MOST_BYTES:
        raise ProblemError(413, f"expected a token of less than {MOST_BYTES} bytes, got more")
    form = parse_qs(body.decode("utf-8", "replace"))
    secret, target = form.get("token", [""])[0].strip(), local_path(form.get("next", ["/"])[0])
    services: Services = request.app.state.services
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    if not secret or await run_in_threadpool(doorkeeper.of_token, secret) is None:
        return _page(
            target, ProblemError(401, WRONG_TOKEN), notice="This token is wrong, was revoked or has ended."
        )
    key = await run_in_threadpool(open_session, services.database, secret)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        SESSION_COOKIE,
        key,
        max_age=round(SESSION_LASTS.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.get("/login")
async def already_in() -> Response:
    """Who gets here has access: on to the first page."""
    return RedirectResponse("/", 303)


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Ends the session of this browser."""
    services: Services = request.app.state.services
    key = request.cookies.get(SESSION_COOKIE)
    if key:
        await run_in_threadpool(close_session, services.database, key)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return answer
