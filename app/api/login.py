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
<html lang="en" data-theme="{theme}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh}<title>Log in · framewatch</title>
<style>
:root {{ color-scheme: light dark; --page: light-dark(#f6f7f9, #0f1419); --panel: light-dark(#fff, #171e26);
  --line: light-dark(#dfe3e8, #2a333d); --strong-line: light-dark(#7a8594, #75818f); --text: light-dark(#17202b, #e6eaef);
  --muted: light-dark(#566170, #9aa7b5); --accent: light-dark(#0f766e, #2dd4bf); --on-accent: light-dark(#fff, #062420);
  --bad: light-dark(#b42318, #fda29b);
  font: 15px/1.5 -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, Ubuntu, Cantarell, "Noto Sans", Arial, sans-serif }}
[data-theme="light"] {{ color-scheme: light }}
[data-theme="dark"] {{ color-scheme: dark }}
* {{ box-sizing: border-box }}
body {{ margin: 0; background: var(--page); color: var(--text) }}
main {{ display: grid; place-items: center; min-height: 100vh; padding: 1rem }}
form {{ display: grid; gap: 1.1rem; width: min(25rem, 100%); padding: 2rem; background: var(--panel);
  border: 1px solid var(--line); border-radius: 12px }}
h1 {{ display: flex; align-items: center; gap: .6rem; font-size: 1.3rem; line-height: 1.2; margin: 0 }}
label {{ display: grid; gap: .3rem; font-weight: 550 }}
input, button {{ font: inherit; padding: .6rem .75rem; border-radius: 8px; border: 1px solid var(--strong-line) }}
input {{ background: var(--panel); color: var(--text); width: 100% }}
button {{ background: var(--accent); color: var(--on-accent); border-color: var(--accent); font-weight: 600; cursor: pointer }}
:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px }}
p {{ margin: 0; color: var(--muted); font-size: .92rem }}
p[role="alert"] {{ color: var(--bad) }}
</style>
</head>
<body>
<main>
<form method="post" action="/login">
<h1><svg viewBox="0 0 24 24" width="30" height="30" aria-hidden="true"><rect width="24" height="24" rx="6" fill="#0f766e"/>
<path d="M5 9V6.5A1.5 1.5 0 0 1 6.5 5H9M15 5h2.5A1.5 1.5 0 0 1 19 6.5V9M19 15v2.5A1.5 1.5 0 0 1 17.5 19H15M9 19H6.5A1.5 1.5 0 0 1 5 17.5V15"
 fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/><circle cx="12" cy="12" r="3" fill="#fff"/></svg>framewatch</h1>
{notice}<label>Token
<input type="password" name="token" required autofocus autocomplete="current-password"></label>
<input type="hidden" name="next" value="{next}">
<button>Log in</button>
<p>No token yet? On the server, <code>framewatch token add NAME</code> makes one.</p>
</form>
</main>
</body>
</html>
"""  # noqa: E501 - lines of HTML and CSS
_THEMES = ("light", "dark")
_THEME_COOKIE = "framewatch_theme"
"""What the dashboard's switch of themes sets."""
_NOTICE = "This token is wrong, was revoked or has ended."
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"


def login_page(connection: HTTPConnection, problem: ProblemError) -> HTMLResponse:
    """Asks for a token, with the code and headers of the refusal that it stands for.

    Browsers withhold a strict cookie where a link of another site leads here; loading the page once more,
    from here, brings it along.
    """
    came_by_link = connection.headers.get("sec-fetch-site") == "cross-site"
    target = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
    return _page(connection, target, problem, refresh=came_by_link)


def _page(
    connection: HTTPConnection, target: str, problem: ProblemError, *, notice: str = "", refresh: bool = False
) -> HTMLResponse:
    theme = connection.cookies.get(_THEME_COOKIE)
    html = _PAGE.format(
        theme=theme if theme in _THEMES else "auto",
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
        return _page(request, target, ProblemError(401, WRONG_TOKEN), notice=_NOTICE)
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
