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
  for (const box of header.boxes) {
    const x = left + box.x * scale;
    const y = top + box.y * scale;
    context.strokeStyle = context.fillStyle = box.color;
    context.strokeRect(x, y, box.width * scale, box.height * scale);
    const text = `${box.class_name} ${Math.round(box.score * 100)}`;
    const size = [context.measureText(text).width + 8 * pixels, (LABEL_PX + 5) * pixels];
    const at = [Math.min(x - pixels, canvas.width - size[0]), Math.max(0, y - size[1])];
    context.fillRect(...at, ...size);
    context.fillStyle = "#111";
    context.fillText(text, at[0] + 4 * pixels, at[1] + 3 * pixels);
  }
  canvas.dataset.boxes = header.boxes.length;
  canvas.dataset.frame = header.index;
  canvas.dataset.at = Date.now();
  canvas.setAttribute("aria-label", `Live picture of ${header.camera}: ${describe(header.boxes)}`);
  canvas.parentElement.classList.add("has-picture");
}

function describe(boxes) {
  const counts = {};
  for (const box of boxes) counts[box.class_name] = (counts[box.class_name] ?? 0) + 1;
  return Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ") || "nothing detected";
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

// The stream holds messages, each after its length in four bytes: a header in JSON and a JPEG picture.
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
      await show(bytes.subarray(4, 4 + length));
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
