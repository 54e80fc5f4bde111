// The history page: filters show their result at once, the address follows them, and charts open a part of time.

import { fetchPage } from "./page.js";

const form = document.querySelector("form[data-follow]");
const results = document.getElementById("results");
const TYPING_MS = 400;
const LEAST_DRAG_PX = 6;
let newest = 0;

async function show(url) {
  const mine = ++newest;
  results.setAttribute("aria-busy", "true");
  try {
    const { page } = await fetchPage(url);
    if (mine !== newest) return;
    const fresh = page.getElementById("results");
    if (!fresh) return void (location.href = url);
    results.innerHTML = fresh.innerHTML;
    results.removeAttribute("aria-busy");
    document.title = page.title;
    results.dataset.address = fresh.dataset.address;
    history.pushState(null, "", fresh.dataset.address);
    for (const part of form.querySelectorAll("[data-follows]")) {
      if (!part.contains(document.activeElement)) part.innerHTML = page.getElementById(part.id).innerHTML;
    }
  } catch {
    location.href = url; // the browser then says what is wrong with the server
  }
}

function address() {
  const fields = [...new FormData(form)].filter(([, value]) => value !== "");
  const query = new URLSearchParams(fields).toString();
  return `/history${query && "?"}${query}`;
}

let waiting;
form.addEventListener("input", ({ target }) => {
  if (target.type === "radio" && !("custom" in target.dataset)) form.elements.from.value = form.elements.until.value = "";
  clearTimeout(waiting);
  const isTyped = !["radio", "checkbox"].includes(target.type);
  waiting = setTimeout(() => show(address()), isTyped ? TYPING_MS : 0);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(waiting);
  show(address());
});
addEventListener("popstate", () => location.reload());

const copy = form.querySelector("[data-copy]");
if (navigator.clipboard) copy.hidden = false;
copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(location.href);
  copy.textContent = "Copied";
  setTimeout(() => (copy.textContent = "Copy link"), 1500);
});

// One stop of the Tab key per chart; arrow keys go on inside it.
results.addEventListener("keydown", (event) => {
  const group = event.target.closest("[data-roving]");
  if (!group) return;
  const links = [...group.querySelectorAll("a")];
  const here = links.indexOf(event.target);
  const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: links.length - 1 }[event.key];
  if (to === undefined || !links[to]) return;
  event.preventDefault();
  links[here].setAttribute("tabindex", "-1");
  links[to].setAttribute("tabindex", "0");
  links[to].focus();
});

// Dragging over a chart opens that part of time.
results.addEventListener("pointerdown", (event) => {
  const svg = event.target.closest("svg.bars");
  if (!svg || event.button !== 0 || event.pointerType === "touch") return;
  const chart = svg.closest("[data-chart]");
  const brush = chart.querySelector(".brush");
  const place = svg.getBoundingClientRect();
  const from = event.clientX;
  const share = (x) => Math.min(1, Math.max(0, (x - place.left) / place.width));
  const edges = (x) => [share(from), share(x)].sort((a, b) => a - b);
  const move = (moved) => {
    const [left, right] = edges(moved.clientX);
    brush.hidden = Math.abs(moved.clientX - from) < LEAST_DRAG_PX;
    const origin = chart.getBoundingClientRect();
    brush.style.left = `${place.left - origin.left + left * place.width}px`;
    brush.style.width = `${(right - left) * place.width}px`;
    brush.style.top = `${place.top - origin.top}px`;
    brush.style.height = `${place.height}px`;
  };
  const end = (ended) => {
    removeEventListener("pointermove", move);
    if (brush.hidden) return;
    addEventListener("click", (click) => click.preventDefault(), { once: true, capture: true });
    const [since, until] = edges(ended.clientX).map((part) => {
      const seconds = Number(chart.dataset.since) * (1 - part) + Number(chart.dataset.until) * part;
      return new Date(Math.round(seconds) * 1000).toISOString().replace(".000", "");
    });
    if (since === until) return void (brush.hidden = true);
    const query = new URLSearchParams(results.dataset.address.split("?")[1]);
    query.set("since", since);
    query.set("until", until);
    location.href = `/history?${query}`;
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end, { once: true });
});
results.addEventListener("dragstart", (event) => event.target.closest(".bars") && event.preventDefault());
