// What every page does: the theme, parts that keep themselves up to date, filters that follow the keyboard.

const html = document.documentElement;

function toggleTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = html.dataset.theme === "auto" ? (dark ? "dark" : "light") : html.dataset.theme;
  html.dataset.theme = now === "dark" ? "light" : "dark";
  document.cookie = `framewatch_theme=${html.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
}
document.querySelector("[data-theme-toggle]")?.addEventListener("click", toggleTheme);

async function fetchPage(url) {
  const answer = await fetch(url, { headers: { Accept: "text/html" } });
  if (answer.status === 401) location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return { ok: answer.ok, page, url: answer.url };
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
    const { ok, page } = await fetchPage(location.href);
    document.body.classList.toggle("away", !ok);
    if (ok) takeOver(page);
  } catch {
    document.body.classList.add("away"); // the server does not answer: what is shown is old
  }
}

function repeat(action, seconds) {
  const turn = async () => {
    await action();
    setTimeout(turn, seconds * 1000);
  };
  setTimeout(turn, seconds * 1000);
}

async function retry() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.ok) location.reload();
}

const { refreshEvery, retryEvery } = document.body.dataset;
if (refreshEvery) repeat(refresh, Number(refreshEvery));
if (retryEvery) repeat(retry, Number(retryEvery));

// Forms with data-follow show their result at once, and the address follows them.
let newest = 0;

async function show(url, { push }) {
  const mine = ++newest;
  const results = document.getElementById("results");
  results.setAttribute("aria-busy", "true");
  try {
    const { page } = await fetchPage(url);
    if (mine !== newest) return;
    const fresh = page.getElementById("results");
    if (!fresh) return void (location.href = url);
    results.innerHTML = fresh.innerHTML;
    results.removeAttribute("aria-busy");
    document.title = page.title;
    if (push) history.pushState(null, "", url);
  } catch {
    location.href = url;
  }
}

for (const form of document.querySelectorAll("form[data-follow]")) {
  const address = () => {
    const fields = [...new FormData(form)].filter(([, value]) => value !== "");
    const query = new URLSearchParams(fields).toString();
    return form.action.split("?")[0] + (query && `?${query}`);
  };
  let waiting;
  const later = (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => show(address(), { push: true }), event.type === "input" ? 400 : 0);
  };
  form.addEventListener("input", later);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    later(event);
  });
  addEventListener("popstate", () => location.reload());
}

// A question before what cannot be undone.
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
