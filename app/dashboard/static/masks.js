// Masks on the live picture: drawn and moved with mouse, finger or keys; the numbers beside it say the same.

const SVG = "http://www.w3.org/2000/svg";
const stage = document.querySelector("[data-masks]");
const form = document.querySelector("[data-polygons]");
const STEP = 0.01;
const LEAST_POINTS = 3;

if (stage && form) {
  const svg = stage.querySelector("svg.masks");
  const rows = form.querySelector("[data-rows]");
  const hint = form.querySelector("[data-hint]");
  const still = stage.querySelector("img");
  if (still) stage.style.aspectRatio = `${still.getAttribute("width")} / ${still.getAttribute("height")}`;
  let drawing = null; // the points of the polygon that is being drawn

  const inputs = () => [...rows.querySelectorAll("input[name=mask]")];
  const clamp = (value) => Math.min(1, Math.max(0, value));
  const round = (value) => Math.round(clamp(value) * 1000) / 1000;
  const write = (points) => points.flat().map(round).join(",");

  function read(text) {
    const numbers = text.split(",").map(Number);
    if (numbers.length < 2 * LEAST_POINTS || numbers.length % 2 || numbers.some((one) => !(one >= 0 && one <= 1))) return null;
    return numbers.reduce((points, one, i) => (i % 2 ? points.at(-1).push(one) : points.push([one]), points), []);
  }

  function pointOf(event) {
    const place = svg.getBoundingClientRect();
    return [clamp((event.clientX - place.left) / place.width), clamp((event.clientY - place.top) / place.height)];
  }

  function addRow(points) {
    const row = document.createElement("div");
    row.className = "row";
    const number = inputs().length + 1;
    row.innerHTML = '<input name="mask" class="mono"><button type="button" data-delete>Delete</button>';
    row.querySelector("input").value = write(points);
    row.querySelector("input").setAttribute("aria-label", `Points of mask ${number}: x,y from 0 to 1`);
    row.querySelector("button").setAttribute("aria-label", `Delete mask ${number}`);
    rows.append(row);
    show();
    return row;
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
    const dot = element("ellipse", { class: "handle", cx: point[0], cy: point[1], rx: size / place.width, ry: size / place.height, tabindex: 0, role: "button", "aria-label": label });
    dot.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      event.stopPropagation();
      dot.focus();
      const follow = (moved) => move(pointOf(moved));
      addEventListener("pointermove", follow);
      addEventListener("pointerup", () => removeEventListener("pointermove", follow), { once: true });
    });
    dot.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? STEP / 5 : STEP;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (!by) return;
      event.preventDefault();
      move([point[0] + by[0], point[1] + by[1]]);
    });
    return dot;
  }

  function show() {
    const focused = [...svg.querySelectorAll(".handle")].indexOf(document.activeElement);
    svg.replaceChildren();
    svg.removeAttribute("aria-hidden");
    inputs().forEach((input, number) => {
      const points = read(input.value);
      input.setAttribute("aria-invalid", String(!points && input.value !== ""));
      if (!points) return;
      element("polygon", { points: points.map((point) => point.join(",")).join(" ") });
      points.forEach((point, corner) => {
        const move = (to) => {
          points[corner] = to;
          input.value = write(points);
          show();
        };
        handle(point, move, `Mask ${number + 1}, corner ${corner + 1}: arrow keys move it`);
      });
    });
    if (drawing?.length) element("polygon", { points: drawing.map((point) => point.join(",")).join(" ") });
    if (focused >= 0) svg.querySelectorAll(".handle")[focused]?.focus();
  }

  function finish(keep) {
    const points = drawing;
    drawing = null;
    stage.classList.remove("drawing");
    form.querySelector("[data-draw]").textContent = "Draw a mask";
    hint.textContent = keep ? "Drag the corners, or move them with the arrow keys; then save." : "";
    if (keep && points.length >= LEAST_POINTS) addRow(points);
    else show();
  }

  form.querySelector("[data-draw]").addEventListener("click", (event) => {
    if (drawing) return finish(true);
    drawing = [];
    stage.classList.add("drawing");
    event.currentTarget.textContent = "Finish";
    hint.textContent = "Click or tap the corners on the picture; Finish, Enter or a double click ends it, Escape gives up.";
  });
  form.querySelector("[data-rectangle]").addEventListener("click", () => {
    addRow([[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]]);
    hint.textContent = "Drag the corners, or move them with the arrow keys; then save.";
    [...svg.querySelectorAll(".handle")].at(-4)?.focus();
  });
  svg.addEventListener("pointerdown", (event) => {
    if (!drawing) return;
    drawing.push(pointOf(event));
    show();
  });
  svg.addEventListener("dblclick", () => {
    if (!drawing) return;
    drawing.pop(); // the second press of the double click
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
    show();
    form.querySelector("[data-draw]").focus();
  });
  new ResizeObserver(show).observe(svg);
}
