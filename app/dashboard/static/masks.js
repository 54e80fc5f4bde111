// Masks and areas on the live picture: drawn and moved with mouse, finger or keys; the numbers below say the same.

const SVG = "http://www.w3.org/2000/svg";
const STEP = 0.01;
const LEAST_POINTS = 3;
const MOVE_HINT = "Drag the corners, or move them with the arrow keys (Shift: finer); then save.";
const DRAW_HINT = "Click or tap the corners on the picture. Finish, Enter or a double click ends it, Escape gives up.";

const stage = document.querySelector("[data-masks]");
const form = document.querySelector("[data-polygons]");
if (stage && form) setUp();

function setUp() {
  const svg = stage.querySelector("svg.masks");
  const rows = form.querySelector("[data-rows]");
  const hint = form.querySelector("[data-hint]");
  const drawButtons = [...form.querySelectorAll("[data-draw]")];
  const still = stage.querySelector("img");
  if (still) stage.style.aspectRatio = `${still.getAttribute("width")} / ${still.getAttribute("height")}`;
  let drawing = null; // kind and points of the polygon that is being drawn

  const inputs = () => [...rows.querySelectorAll("input")];
  const clamp = (value) => Math.min(1, Math.max(0, value));
  const round = (value) => Math.round(clamp(value) * 1000) / 1000;
  const write = (points) => points.flat().map(round).join(",");
  const join = (points) => points.map((point) => point.join(",")).join(" ");

  function read(text) {
    const numbers = text.split(",").map((part) => (part.trim() ? Number(part) : NaN));
    if (numbers.length < 2 * LEAST_POINTS || numbers.length % 2 || numbers.some((one) => !(one >= 0 && one <= 1))) return null;
    return numbers.reduce((points, one, i) => (i % 2 ? points.at(-1).push(one) : points.push([one]), points), []);
  }

  function pointOf(event) {
    const place = svg.getBoundingClientRect();
    return [clamp((event.clientX - place.left) / place.width), clamp((event.clientY - place.top) / place.height)];
  }

  function addRow(kind, points) {
    const number = inputs().length + 1;
    const row = document.createElement("div");
    row.className = "row";
    row.innerHTML = '<span class="kind"></span><input class="mono"><button type="button" class="small" data-delete>Delete</button>';
    const [label, input, button] = row.children;
    label.textContent = kind;
    label.classList.add(kind);
    input.name = kind;
    input.value = write(points);
    input.setAttribute("aria-label", `Points of ${kind} ${number}: x,y from 0 to 1`);
    button.setAttribute("aria-label", `Delete ${kind} ${number}`);
    rows.append(row);
    hint.textContent = MOVE_HINT;
    show();
  }

  function element(kind, attributes) {
    const one = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
    svg.append(one);
    return one;
  }

  // The picture is drawn in shares of its width and height; ellipses stay round on it.
  function handle(point, move, label) {
    const place = svg.getBoundingClientRect();
    const size = matchMedia("(pointer: coarse)").matches ? 12 : 7;
    const shape = { cx: point[0], cy: point[1], rx: size / place.width, ry: size / place.height };
    const dot = element("ellipse", { class: "handle", ...shape, tabindex: 0, role: "button", "aria-label": label });
    dot.addEventListener("pointerdown", (event) => {
      if (drawing) return;
      event.preventDefault();
      event.stopPropagation();
      dot.focus();
      const follow = (moved) => move(pointOf(moved));
      addEventListener("pointermove", follow);
      for (const end of ["pointerup", "pointercancel"])
        addEventListener(end, () => removeEventListener("pointermove", follow), { once: true });
    });
    dot.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? STEP / 5 : STEP;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (!by) return;
      event.preventDefault();
      move([clamp(point[0] + by[0]), clamp(point[1] + by[1])]);
    });
  }

  function showPolygon(input, number) {
    const points = read(input.value);
    input.setAttribute("aria-invalid", String(!points && input.value !== ""));
    if (!points) return;
    element("polygon", { class: input.name, points: join(points) });
    points.forEach((point, corner) => {
      const move = (to) => {
        points[corner] = to;
        input.value = write(points);
        show();
      };
      handle(point, move, `${input.name} ${number + 1}, corner ${corner + 1}: arrow keys move it`);
    });
  }

  function show() {
    const focused = [...svg.querySelectorAll(".handle")].indexOf(document.activeElement);
    svg.replaceChildren();
    inputs().forEach(showPolygon);
    if (drawing?.points.length) {
      element("polygon", { class: drawing.kind, points: join(drawing.points) });
      const place = svg.getBoundingClientRect();
      for (const [cx, cy] of drawing.points) element("ellipse", { class: "corner", cx, cy, rx: 4 / place.width, ry: 4 / place.height });
    }
    if (focused >= 0) svg.querySelectorAll(".handle")[focused]?.focus();
  }

  function finish(keep) {
    const { kind, points, button, label } = drawing;
    drawing = null;
    stage.classList.remove("drawing");
    button.textContent = label;
    for (const one of drawButtons) one.disabled = false;
    hint.textContent = keep && points.length < LEAST_POINTS ? "That needs three corners or more." : "";
    if (keep && points.length >= LEAST_POINTS) addRow(kind, points);
    else show();
    button.focus();
  }

  for (const button of drawButtons) {
    button.addEventListener("click", () => {
      if (drawing) return finish(true);
      drawing = { kind: button.dataset.draw, points: [], button, label: button.textContent };
      stage.classList.add("drawing");
      button.textContent = "Finish";
      for (const other of drawButtons) other.disabled = other !== button;
      hint.textContent = DRAW_HINT;
      stage.scrollIntoView({ block: "nearest" });
    });
  }
  form.querySelector("[data-rectangle]").addEventListener("click", () => {
    addRow("mask", [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]]);
    [...svg.querySelectorAll(".handle")].at(-4).focus();
  });
  svg.addEventListener("pointerdown", (event) => {
    if (!drawing) return;
    event.preventDefault();
    drawing.points.push(pointOf(event));
    show();
  });
  svg.addEventListener("dblclick", () => {
    if (!drawing) return;
    drawing.points.pop(); // the second press of the double click
    finish(true);
  });
  addEventListener("keydown", (event) => {
    if (!drawing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    finish(event.key === "Enter");
  });
  rows.addEventListener("input", show);
  rows.addEventListener("click", (event) => {
    if (!event.target.matches("[data-delete]")) return;
    event.target.closest(".row").remove();
    hint.textContent = "Deleted; save to keep it so.";
    show();
    drawButtons[0].focus();
  });
  new ResizeObserver(show).observe(svg);
}
