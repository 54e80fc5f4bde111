// Live pictures: one stream for all canvases of the page, boxes drawn over the pictures.

const canvases = new Map([...document.querySelectorAll("canvas[data-live]")].map((one) => [one.dataset.live, one]));
const FRESH_MS = 15000;
const LABEL_PX = 12;

function draw(canvas, bitmap, header) {
  const [width, height] = header.source_size;
  canvas.parentElement.style.aspectRatio = canvas.closest(".stage") ? `${width} / ${height}` : "";
  const pixels = devicePixelRatio || 1;
  const place = canvas.getBoundingClientRect();
  canvas.width = Math.round(place.width * pixels);
  canvas.height = Math.round(place.height * pixels);
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const left = (canvas.width - width * scale) / 2;
  const top = (canvas.height - height * scale) / 2;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, left, top, width * scale, height * scale);
  context.lineWidth = 2 * pixels;
  context.font = `600 ${LABEL_PX * pixels}px system-ui, sans-serif`;
  context.textBaseline = "top";
  const placed = header.boxes.map((box) => ({ ...box, x: left + box.x * scale, y: top + box.y * scale, width: box.width * scale, height: box.height * scale }));
  for (const box of placed) {
    context.strokeStyle = box.color;
    context.strokeRect(box.x, box.y, box.width, box.height);
  }
  const taken = [];
  for (const box of placed) taken.push(drawLabel(context, box, pixels, taken));
  canvas.dataset.boxes = header.boxes.length;
  canvas.dataset.frame = header.index;
  canvas.dataset.at = Date.now();
  const seen = describe(header.boxes);
  canvas.setAttribute("aria-label", `Live picture of ${header.camera}: ${seen}`);
  canvas.parentElement.classList.add("has-picture");
  for (const one of document.querySelectorAll("[data-seen]")) if (one.dataset.seen === header.camera) one.textContent = seen;
}

// Above the box, else below, else inside it: the first place that no better label has.
function drawLabel(context, box, pixels, taken) {
  const text = `${box.class_name} ${Math.round(box.score * 100)}`;
  const width = context.measureText(text).width + 8 * pixels;
  const height = (LABEL_PX + 5) * pixels;
  const x = Math.max(0, Math.min(box.x - pixels, context.canvas.width - width));
  const free = (y) => y >= 0 && y + height <= context.canvas.height && !taken.some((one) => x < one.x + one.width && one.x < x + width && y < one.y + height && one.y < y + height);
  const y = [box.y - height, box.y + box.height, box.y].find(free) ?? Math.max(0, box.y - height);
  context.fillStyle = box.color;
  context.fillRect(x, y, width, height);
  context.fillStyle = box.ink;
  context.fillText(text, x + 4 * pixels, y + 3 * pixels);
  return { x, y, width, height };
}

function describe(boxes) {
  const counts = {};
  for (const box of boxes) counts[box.class_name] = (counts[box.class_name] ?? 0) + 1;
  const most = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  return most.map(([name, count]) => `${count} ${name}`).join(", ") || "nothing detected";
}

async function show(message) {
  const view = new DataView(message.buffer, message.byteOffset);
  const end = 4 + view.getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(message.subarray(4, end)));
  const canvas = canvases.get(header.camera);
  const bitmap = await createImageBitmap(new Blob([message.subarray(end)], { type: "image/jpeg" }));
  draw(canvas, bitmap, header);
  bitmap.close();
}

// The stream holds messages, each after its length in four bytes: a header in JSON and a JPEG picture, or nothing.
async function follow(signal) {
  const query = [...canvases.keys()].map((name) => `camera=${encodeURIComponent(name)}`).join("&");
  const answer = await fetch(`/live?${query}`, { signal });
  if (!answer.ok) throw new Error(answer.statusText);
  const reader = answer.body.getReader();
  let bytes = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(bytes.length + value.length);
    joined.set(bytes);
    joined.set(value, bytes.length);
    bytes = joined;
    while (bytes.length >= 4) {
      const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      if (bytes.length < 4 + length) break;
      if (length) await show(bytes.subarray(4, 4 + length));
      bytes = bytes.slice(4 + length);
    }
  }
}

function forgetOld() {
  for (const canvas of canvases.values()) {
    if (Date.now() - Number(canvas.dataset.at ?? 0) > FRESH_MS) canvas.parentElement.classList.remove("has-picture");
  }
}

// Nobody who does not look costs the workers anything: a hidden page follows nothing.
let stop = null;

async function run() {
  if (stop || document.hidden) return;
  stop = new AbortController();
  const { signal } = stop;
  while (!signal.aborted) {
    await follow(signal).catch(() => {});
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 1500));
  }
}

if (canvases.size) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stop?.abort();
      stop = null;
    } else run();
  });
  setInterval(forgetOld, 3000);
  run();
}
