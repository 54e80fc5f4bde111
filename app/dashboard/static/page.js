// What every page does: the theme, parts that keep themselves up to date, questions before what cannot be undone.

const html = document.documentElement;
const themeSwitch = document.querySelector("[data-theme-toggle]");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

const isDark = () => (html.dataset.theme === "auto" ? systemIsDark.matches : html.dataset.theme === "dark");
const showTheme = () => themeSwitch?.setAttribute("aria-pressed", String(isDark()));

themeSwitch?.addEventListener("click", () => {
  html.dataset.theme = isDark() ? "light" : "dark";
  document.cookie = `framewatch_theme=${html.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
  showTheme();
});
systemIsDark.addEventListener("change", showTheme);
showTheme();

export async function fetchPage(url, headers = {}) {
  const answer = await fetch(url, { headers: { Accept: "text/html", ...headers } });
  if (answer.status === 401) location.reload(); // the session has ended: the server shows where to log in
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { ok: answer.ok, page };
}

// Elements with data-refresh and an id are replaced by those of a newer copy of the page.
function takeOver(page) {
  for (const old of document.querySelectorAll("[data-reload]")) {
    const fresh = page.getElementById(old.id);
    if (fresh?.dataset.reload !== old.dataset.reload) return location.reload();
  }
  for (const old of document.querySelectorAll("[data-refresh]")) {
    const fresh = page.getElementById(old.id);
    const busy = old.contains(document.activeElement);
    if (fresh && !busy && fresh.innerHTML !== old.innerHTML) old.innerHTML = fresh.innerHTML;
  }
}

async function refresh() {
  if (document.hidden) return;
  try {
    const { ok, page } = await fetchPage(location.href, { "Framewatch-Refresh": "1" });
    document.body.classList.toggle("away", !ok);
    if (ok) takeOver(page);
  } catch {
    document.body.classList.add("away"); // the server does not answer: what is shown is old
  }
}

async function retry() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.ok) location.reload();
}

function repeat(action, seconds) {
  const turn = async () => {
    await action();
    setTimeout(turn, seconds * 1000);
  };
  setTimeout(turn, seconds * 1000);
}

const { refreshEvery, retryEvery } = document.body.dataset;
if (refreshEvery) repeat(refresh, Number(refreshEvery));
if (retryEvery) repeat(retry, Number(retryEvery));

for (const dialog of document.querySelectorAll("dialog")) {
  document.querySelector(`[data-opens="${dialog.id}"]`)?.addEventListener("click", () => dialog.showModal());
  dialog.querySelector("[data-closes]")?.addEventListener("click", () => dialog.close());
}

// A button whose work takes a while says so.
addEventListener("submit", ({ submitter }) => {
  if (submitter?.dataset.busy) setTimeout(() => {
    submitter.textContent = submitter.dataset.busy;
    submitter.disabled = true; // only now: the name of a disabled button would not be sent
  });
});
