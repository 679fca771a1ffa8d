// The page of the translator. `server` below speaks to `unpaired serve`; a page without a server
// brings its own `unpairedHere` with the same three functions (see `unpaired export --format web`).
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const ENDED = ["done", "failed", "cancelled"];
const SHOWN = /^image\/(png|jpeg|webp|gif|bmp|avif)$/; // what browsers decode
const LARGEST_DIFFERENCE = 1024; // pixels of the longer side of the difference
const state = { info: null, model: null, to: null, items: [], selected: null, picked: false, awaited: null, early: [], token: "" };

const el = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};
const sleep = (ms, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); fail(new Stopped()); }, { once: true });
});
const size = (bytes) => bytes >= 1e6 ? `${+(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const seconds = (s) => s >= 90 ? `${Math.round(s / 60)} min` : `${Math.max(1, Math.round(s))} s`;

class Stopped extends Error {}
class Problem extends Error {
  constructor(message, status = 0, after = null) { super(message); this.status = status; this.after = after; }
}

// ---- the server -----------------------------------------------------------------------------

function call(method, path, { body = null, type = "", signal = null, progress = null } = {}) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "blob";
    if (type) request.setRequestHeader("Content-Type", type);
    if (state.token) request.setRequestHeader("Authorization", `Bearer ${state.token}`);
    if (progress) request.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.onabort = () => fail(new Stopped());
    request.onerror = () => fail(new Problem("the server does not respond: is it running?"));
    request.onload = async () => {
      const { status, response: blob } = request;
      const header = (name) => request.getResponseHeader(name);
      if (status < 400) return done({ blob, header, json: async () => JSON.parse(await blob.text()) });
      let detail = `the server answered ${status}`;
      try { detail = JSON.parse(await blob.text()).detail || detail; } catch { /* not JSON */ }
      const after = [429, 503].includes(status) ? Number(header("Retry-After")) || 2 : null;
      fail(new Problem(detail, status, after));
    };
    request.send(body);
  });
}

/** Calls, and asks for the token as often as the server rejects it. */
async function signedIn(method, path, options) {
  for (;;) {
    try { return await call(method, path, options); } catch (error) {
      if (error.status !== 401) throw error;
      await askForToken(state.token ? error.message : "");
    }
  }
}

let asking = null;
function askForToken(fault) {
  asking ??= new Promise((done) => {
    $("sign-in-fault").textContent = fault;
    $("token").value = "";
    $("sign-in").showModal();
    $("sign-in").addEventListener("close", () => {
      state.token = $("token").value.trim();
      try { sessionStorage.setItem("unpaired-token", state.token); } catch { /* not kept, then */ }
      asking = null;
      done();
    }, { once: true });
  });
  return asking;
}

const server = {
  terminal: true,
  info: async () => (await signedIn("GET", "v1/models")).json(),
  image: async (path) => (await signedIn("GET", path.replace(/^\//, ""))).blob,

  /** Translates one file; `tell` gets what becomes of it, in the fields of a job. */
  async translate({ file, name, model, to, format }, tell, signal) {
    const query = new URLSearchParams({ model, to, name });
    if (format) query.set("format", format);
    const type = isZip(file) ? "application/zip" : file.type || "application/octet-stream";
    const progress = (share) => tell({ state: "sending", share });
    let answer;
    for (;;) {
      try {
        tell({ state: "sending", share: 0 });
        answer = await signedIn("POST", `v1/jobs?${query}`, { body: file, type, signal, progress });
        break;
      } catch (error) {
        if (error.after === null || error.after === undefined) throw error;
        tell({ state: "held", seconds_left: error.after });
        await sleep(1000 * Math.min(error.after, 60), signal);
      }
    }
    let job = await answer.json();
    const path = `v1/jobs/${encodeURIComponent(job.id)}`;
    try {
      // Asked again and again: browsers have six connections to a server, too few for streams.
      for (let pause = 80, misses = 0; !ENDED.includes(job.state); pause = Math.min(1000, 1.4 * pause)) {
        tell(job);
        await sleep(pause, signal);
        try {
          job = await (await signedIn("GET", path, { signal })).json();
          misses = 0;
        } catch (error) { // a server that starts again answers soon
          if (error instanceof Stopped || (error.status && error.status < 500) || ++misses > 5) throw error;
        }
      }
      const faults = job.images.filter((image) => image.error);
      const many = job.images.length > 1;
      if (job.state === "cancelled") throw new Problem("cancelled by the server");
      if (job.state === "failed") throw new Problem(job.error || faults[0]?.error || "it failed");
      const { blob } = await signedIn("GET", `${path}/result`, { signal });
      const warnings = job.images.map((image) => image.warning).filter(Boolean);
      if (many && faults.length) warnings.unshift(
        `${faults.length} of ${job.images.length} failed: ${faults[0].name}: ${faults[0].error}`);
      return { blob, warning: [...new Set(warnings)].slice(0, 3).join("; ") };
    } finally { // what is here or not wanted need not stay there
      const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
      fetch(path, { method: "DELETE", headers, keepalive: true }).catch(() => {});
    }
  },
};
const api = window.unpairedHere ?? server;

// ---- the list -------------------------------------------------------------------------------

const isZip = (file) => /\.zip$/i.test(file.name || "") || file.type === "application/zip";
const domain = (id) => state.model.domains[id].name;
const other = (to) => state.model.directions.find((d) => d.from === to)?.to;
const running = () => state.items.filter((item) => item.abort);
const parallel = () => Math.max(1, Math.min(api.parallel ?? 4, (state.info.limits.in_flight_per_client ?? 8) - 2));

function add(files) {
  if (!state.model) return void state.early.push(...files);
  const limit = state.info.limits.body_bytes;
  for (const file of files) {
    const item = { file, name: file.name || "image.png", state: "queued", tries: 0 };
    item.row = makeRow(item);
    state.items.push(item);
    begin(item);
    if (limit && file.size > limit) {
      end(item, "failed", `${size(file.size)}: this server takes at most ${size(limit)}: make it smaller`);
    }
  }
  pump();
}

function begin(item) {
  Object.assign(item, { state: "queued", to: state.to, model: state.model.name, from: fromOf(state.to),
    error: "", warning: "", result: null, back: null, job: {} });
  draw(item);
}
const fromOf = (to) => state.model.directions.find((d) => d.to === to).from;

function end(item, how, error = "") {
  Object.assign(item, { state: how, error, abort: null });
  draw(item);
}

function pump() {
  for (const item of state.items) {
    if (running().length >= parallel()) break;
    if (item.state === "queued" && !item.abort) void work(item);
  }
  summary();
}

async function work(item) {
  const abort = item.abort = new AbortController();
  const tell = (job) => { item.job = job; item.state = job.state; draw(item); };
  try {
    const given = await api.translate({ ...item, format: formatOf(item.file) }, tell, abort.signal);
    Object.assign(item, { result: given.blob, warning: given.warning || "" });
    end(item, "done");
    if (item === state.awaited || (!state.picked && isSettled())) select(item);
    else if (state.selected === item) show();
  } catch (error) {
    if (abort.signal.aborted) end(item, "cancelled");
    else end(item, "failed", error.message);
  }
  pump();
}
// The view stays where it is while the user looks at a result.
const isSettled = () => !state.selected || state.selected.state !== "done";

// Browsers show no TIFF and no JPEG 2000: these come as PNG, which keeps 16 bits.
const formatOf = (file) => isZip(file) || SHOWN.test(file.type) ? "" : "png";

function cancel(item) {
  if (item.abort) item.abort.abort();
  else if (!ENDED.includes(item.state)) end(item, "cancelled");
}

function saying(item) {
  const { job } = item, left = job.seconds_left > 0 ? `, about ${seconds(job.seconds_left)}` : "";
  switch (item.state) {
    case "queued": return "waiting for its turn";
    case "held": return `the server is busy: again in ${seconds(job.seconds_left)}`;
    case "sending": return job.share > 0 && job.share < 1 ? `sending, ${Math.round(100 * job.share)} %` : "sending";
    case "waiting": return (job.position > 0 ? `position ${job.position + 1}` : "next") + left;
    case "running": return (job.total > 1 ? `translating, ${job.done} of ${job.total}` : "translating") + left;
    case "loading": return job.share ? `loading the network, ${Math.round(100 * job.share)} %` : "loading the network";
    case "done": return `${item.from} to ${item.to}, ${size(item.result.size)}`;
    case "failed": return item.error;
    default: return "cancelled";
  }
}

function makeRow(item) {
  const row = { canvas: el("canvas", { width: 96, height: 96, ariaHidden: "true" }), said: el("span", { className: "said" }),
    open: el("button", { type: "button", className: "open", textContent: item.name, title: item.name }),
    does: el("p", { className: "does" }) };
  row.node = el("li", {}, row.canvas, el("div", { className: "what" }, row.open, row.said), row.does);
  row.open.onclick = () => { state.picked = true; select(item); $("viewer").scrollIntoView({ block: "nearest" }); };
  $("items").append(row.node);
  thumbnail(item, row.canvas);
  return row;
}

let thumbnails = Promise.resolve();
function thumbnail(item, canvas) { // one after another: decoding many at once takes much memory
  thumbnails = thumbnails.then(async () => {
    if (isZip(item.file)) return;
    try {
      const map = await createImageBitmap(item.file);
      const side = Math.min(map.width, map.height);
      canvas.getContext("2d").drawImage(map, (map.width - side) / 2, (map.height - side) / 2, side, side, 0, 0, 96, 96);
      map.close();
    } catch { /* the browser cannot decode it: the server may */ }
  });
}

function draw(item) {
  const { row } = item, button = (text, action) => {
    const made = el("button", { type: "button", textContent: text, ariaLabel: `${text}: ${item.name}` });
    made.onclick = action;
    return made;
  };
  row.node.className = item.state + (state.selected === item ? " chosen" : "");
  row.said.textContent = saying(item);
  row.open.disabled = item.state !== "done" || isZip(item.file);
  const phase = ENDED.includes(item.state) ? item.state : "open";
  if (row.phase !== phase + item.to) { // a button that is made again would lose the focus
    const focused = row.does.contains(document.activeElement);
    row.does.replaceChildren();
    row.phase = phase + item.to;
    if (phase === "open") row.does.append(button("Cancel", () => { cancel(item); summary(); }));
    if (phase === "failed" || phase === "cancelled") row.does.append(button("Retry", () => retry(item)));
    if (phase === "done") {
      const link = el("a", { className: "button", textContent: "Save", download: savedName(item), href: "#" });
      link.ariaLabel = `Save: ${savedName(item)}`;
      link.onclick = (event) => { event.preventDefault(); save(item.result, savedName(item)); };
      row.does.append(link);
    }
    if (focused) row.does.firstElementChild?.focus();
  }
  summary();
}

function retry(item) { begin(item); pump(); }

function summary() {
  const { items } = state, of = (...states) => items.filter((item) => states.includes(item.state)).length;
  const ended = of(...ENDED), failed = of("failed"), cancelled = of("cancelled");
  $("list").hidden = !items.length;
  if (summary.count !== items.length) {
    summary.count = items.length;
    terminal();
  }
  document.body.classList.toggle("busy", items.length > 0);
  $("total").max = Math.max(1, items.length);
  $("total").value = ended;
  const parts = [`${of("done")} of ${counted(items.length, "image")} done`];
  if (failed) parts.push(`${failed} failed`);
  if (cancelled) parts.push(`${cancelled} cancelled`);
  const said = parts.join(", ");
  if ($("status").textContent !== said) $("status").textContent = said;
  $("zip").disabled = !of("done");
  $("retry-all").hidden = !(failed + cancelled);
  $("cancel-all").disabled = ended === items.length;
  $("clear").disabled = !items.length;
}

// ---- saving ---------------------------------------------------------------------------------

const SUFFIXES = { "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/tiff": ".tif",
  "image/bmp": ".bmp", "image/avif": ".avif", "image/jp2": ".jp2", "image/gif": ".gif", "application/zip": ".zip" };
const savedName = (item) => item.name.replace(/\.[^.]*$/, "").replace(/[\\/]/g, "_") + `-${item.to}`
  + (SUFFIXES[item.result?.type.split(";")[0]] ?? ".png");

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});
function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** A zip file without compression, which images have already: local headers, data, directory. */
async function zipped(files) {
  const parts = [], directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const title = new TextEncoder().encode(name), bytes = new Uint8Array(await blob.arrayBuffer());
    const record = (local) => {
      const fields = [crc32(bytes), bytes.length, bytes.length];
      const view = new DataView(new ArrayBuffer(local ? 30 : 46)), at = local ? 14 : 16;
      view.setUint32(0, local ? 0x04034b50 : 0x02014b50, true);
      if (!local) view.setUint16(4, 20, true);
      view.setUint16(local ? 4 : 6, 20, true);
      view.setUint16(local ? 6 : 8, 0x800, true); // names in UTF-8
      view.setUint16(local ? 12 : 14, 33, true); // 1 January 1980
      fields.forEach((field, k) => view.setUint32(at + 4 * k, field, true));
      view.setUint16(at + 12, title.length, true);
      if (!local) view.setUint32(42, offset, true);
      return new Uint8Array(view.buffer);
    };
    directory.push(record(false), title);
    parts.push(record(true), title, blob);
    offset += 30 + title.length + bytes.length;
    if (offset > 0xf0000000) throw new Problem("over 4 GB do not fit into one zip file: save them one by one");
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  const tail = new DataView(new ArrayBuffer(22));
  tail.setUint32(0, 0x06054b50, true);
  tail.setUint16(8, files.length, true);
  tail.setUint16(10, files.length, true);
  tail.setUint32(12, length, true);
  tail.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, tail.buffer], { type: "application/zip" });
}

async function saveAll() {
  const taken = new Set(), files = state.items.filter((item) => item.state === "done").map((item) => {
    const whole = savedName(item), [, stem, suffix] = whole.match(/^(.*?)(\.[^.]*)?$/);
    let name = whole;
    for (let k = 2; taken.has(name); k++) name = `${stem} (${k})${suffix ?? ""}`;
    taken.add(name);
    return { name, blob: item.result };
  });
  save(await zipped(files), "translated.zip");
}

// ---- looking at a result ---------------------------------------------------------------------

const urls = new Map();
/** Shows a blob in an <img>; false if the browser cannot decode it. */
async function put(node, blob) {
  const url = URL.createObjectURL(blob);
  URL.revokeObjectURL(urls.get(node));
  urls.set(node, url);
  node.src = url;
  try { await node.decode(); return true; } catch { return urls.get(node) !== url; }
}

function select(item) {
  const before = state.selected;
  state.selected = item;
  if (before && before !== item) draw(before);
  if (item) draw(item);
  terminal();
  show();
}

async function show() {
  const item = state.selected;
  $("viewer").hidden = !item || item.state !== "done" || isZip(item.file);
  if ($("viewer").hidden) return;
  const { from, to } = item, tags = document.querySelectorAll("#slide .tag");
  $("name").textContent = item.name;
  tags[0].textContent = from;
  tags[1].textContent = to;
  $("warning").hidden = !item.warning;
  $("warning").textContent = item.warning;
  $("before").alt = `${item.name}, the original (${from})`;
  $("after").alt = `${item.name}, translated to ${to}`;
  $("save").href = "#";
  $("save").ariaLabel = `Save ${savedName(item)}`;
  $("again").hidden = item.to === state.to && item.model === state.model.name;
  $("again").textContent = `Translate it to ${state.to}`;
  const seen = await put($("after"), item.result);
  const original = await put($("before"), item.file);
  if (state.selected !== item) return;
  $("slide").classList.toggle("single", !original || !seen);
  if (!seen) {
    $("warning").hidden = false;
    $("warning").textContent = "Browsers do not show this format: save the result to see it.";
  }
  const { naturalWidth: width, naturalHeight: height } = $("after");
  for (const node of [$("slide"), $("four")]) {
    node.style.setProperty("--ratio", width && height ? width / height : 1.5);
    node.style.setProperty("--most", `${Math.max(width, width < 400 ? 512 : 768)}px`);
    node.classList.toggle("coarse", Math.max(width, height) < 200);
  }
  slide();
  four(item);
}

function slide() {
  const share = $("share").value, item = state.selected;
  $("slide").style.setProperty("--share", `${share}%`);
  if (item) $("share").setAttribute("aria-valuetext", `${share} % ${item.from}, ${100 - share} % ${item.to}`);
}

/** Original, translated, back again, and how far the last is from the first. */
async function four(item) {
  if ($("four").hidden) return;
  const caption = (id, text) => { $(id).nextElementSibling.textContent = text; };
  const { from, to } = item, back = other(to) === from;
  await Promise.all([put($("f-original"), item.file), put($("f-translated"), item.result)]);
  $("f-original").alt = `The original (${from})`;
  $("f-translated").alt = `Translated to ${to}`;
  caption("f-original", `original (${from})`);
  caption("f-translated", `translated (${to})`);
  for (const id of ["f-back", "f-difference"]) $(id).parentElement.hidden = !back;
  if (!back) return;
  caption("f-difference", "difference of original and back again, × 5");
  $("f-back").hidden = $("f-difference").hidden = !item.returned;
  if (!item.returned) {
    caption("f-back", `translating back to ${from}`);
    try {
      const file = new File([item.result], item.name, { type: item.result.type });
      item.back ??= api.translate({ file, name: item.name, model: item.model, to: from, format: "png" }, () => {});
      item.returned = (await item.back).blob;
    } catch (error) {
      item.back = null;
      if (state.selected === item) caption("f-back", `back again: ${error.message}`);
      return;
    }
    if (state.selected !== item) return;
  }
  await put($("f-back"), item.returned);
  $("f-back").alt = `Translated back to ${from}`;
  caption("f-back", `back again (${from})`);
  $("f-back").hidden = false;
  try { $("f-difference").hidden = !difference($("f-original"), $("f-back"), $("f-difference")); }
  catch { $("f-difference").hidden = true; }
}

function difference(one, two, canvas) {
  if (!one.naturalWidth) return false; // the browser cannot decode the original
  const scale = Math.min(1, LARGEST_DIFFERENCE / Math.max(two.naturalWidth, two.naturalHeight));
  canvas.width = Math.max(1, Math.round(two.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(two.naturalHeight * scale));
  const pixels = (image) => {
    const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
  const first = pixels(one), second = pixels(two);
  let sum = 0;
  for (let k = 0; k < first.data.length; k++) {
    if (k % 4 === 3) { first.data[k] = 255; continue; }
    const apart = Math.abs(first.data[k] - second.data[k]);
    sum += apart;
    first.data[k] = 5 * apart;
  }
  canvas.getContext("2d").putImageData(first, 0, 0);
  const mean = (sum / (0.75 * first.data.length)).toFixed(1);
  canvas.ariaLabel = `Difference of original and back again, ${mean} levels of 255 on average`;
  canvas.nextElementSibling.textContent = `difference × 5, ${mean} levels of 255 on average`;
  return true;
}

function tab(which) {
  for (const id of ["slide", "four"]) {
    const chosen = id === which, button = $(`tab-${id}`);
    $(id).hidden = !chosen;
    button.ariaSelected = String(chosen);
    button.tabIndex = chosen ? 0 : -1;
  }
  if (state.selected) four(state.selected);
}

// ---- the model ------------------------------------------------------------------------------

function use(model) {
  state.model = model;
  $("title").textContent = model.directions.length > 1 ? `${domain("a")} ⇄ ${domain("b")}`
    : `${model.directions[0].from} → ${model.directions[0].to}`;
  document.title = $("title").textContent;
  const steps = model.step ? `, ${counted(model.step.toLocaleString("en"), "step")} of training` : "";
  $("about").textContent = `${model.name}: trained at ${model.size} px${steps}`;
  const fields = $("directions");
  fields.replaceChildren(fields.firstElementChild);
  for (const { from, to } of model.directions) {
    const input = el("input", { type: "radio", name: "direction", value: to });
    input.onchange = () => turn(to);
    fields.append(el("label", {}, input, `${from} → ${to}`));
  }
  turn(model.directions[0].to);
  void gallery(model);
}

function turn(to) {
  state.to = to;
  for (const input of document.querySelectorAll("#directions input")) input.checked = input.value === to;
  const item = state.selected;
  if (item) {
    $("again").hidden = item.to === to && item.model === state.model.name;
    $("again").textContent = `Translate it to ${to}`;
  }
  terminal();
}

async function gallery(model) {
  const samples = model.samples ?? [];
  $("gallery").hidden = !samples.length;
  if (!samples.length) return;
  $("course").hidden = samples.length < 2;
  $("moment").max = samples.length - 1;
  $("moment").value = samples.length - 1;
  const look = async () => {
    const k = Number($("moment").value);
    $("moment").setAttribute("aria-valuetext", `${k + 1} of ${samples.length}`);
    try {
      const blob = await api.image(samples[k]);
      if (state.model === model && Number($("moment").value) === k) await put($("sample"), blob);
    } catch { $("gallery").hidden = true; }
  };
  $("moment").onchange = look;
  $("sample").alt = `Images of ${domain("a")} and ${domain("b")}, their translations, and these translated back`;
  await look();
}

const quoted = (text) => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
/** A file as `curl -F` takes it: in double quotes where its name has what separates options. */
const field = (name) => /[,;"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
function terminal() {
  if (!api.terminal || !state.model) return;
  const names = [...new Set(state.items.filter((item) => !isZip(item.file)).map((item) => item.name))];
  const several = names.length > 1, name = state.selected?.name ?? names[0] ?? "photo.jpg";
  const query = new URLSearchParams({ to: state.to });
  if (state.info.models.length > 1) query.set("model", state.model.name);
  const url = new URL(`v1/${several ? "jobs" : "translate"}?${query}`, document.baseURI).href;
  const token = state.info.token ? " -H 'Authorization: Bearer TOKEN'" : "";
  const most = state.info.limits.zip_images ?? names.length;
  const what = several ? names.slice(0, most).map((each) => `-F ${quoted(`image=@${field(each)}`)}`).join(" ")
    : `--data-binary ${quoted(`@${name}`)}`;
  const out = several ? "" : ` -o ${quoted(name.replace(/(\.[^.]*)?$/, `-${state.to}$1`))}`;
  $("curl").textContent = `curl --fail-with-body ${what}${token} ${quoted(url)}${out}`;
  $("job").hidden = !several;
  $("terminal").hidden = false;
}

// ---- drop, paste, camera --------------------------------------------------------------------

async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const walk = async (entry) => {
    if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
    const reader = entry.createReader(), found = [];
    for (;;) { // a reader gives a hundred at a time
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) break;
      for (const each of some) found.push(...await walk(each));
    }
    return found.filter((file) => !file.name.startsWith("."));
  };
  return (await Promise.all(entries.map(walk))).flat();
}

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return $("shot").click(); // phones ask their own camera
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch { return $("shot").click(); }
  $("video").srcObject = stream;
  $("photo").showModal();
  $("photo").addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()), { once: true });
  await $("video").play();
}

function takePhoto() {
  const video = $("video"), canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    $("photo").close();
    if (blob) add([new File([blob], "camera.png", { type: "image/png" })]);
  }, "image/png");
}

function listen() {
  let depth = 0;
  const over = (change) => { depth = Math.max(0, depth + change); document.body.classList.toggle("over", depth > 0); };
  addEventListener("dragenter", (e) => { e.preventDefault(); over(1); });
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (e) => e.preventDefault());
  addEventListener("drop", async (e) => { e.preventDefault(); over(-depth); add(await filesOf(e.dataTransfer)); });
  addEventListener("paste", (e) => {
    const files = [...e.clipboardData?.files ?? []];
    if (files.length) { e.preventDefault(); add(files); }
  });
  $("choose").onclick = () => $("files").click();
  $("camera").onclick = openCamera;
  for (const id of ["files", "shot"]) $(id).onchange = (e) => { add(e.target.files); e.target.value = ""; };
  $("take").onclick = takePhoto;
  $("leave").onclick = () => $("photo").close();
  $("share").oninput = slide;
  $("tab-slide").onclick = () => tab("slide");
  $("tab-four").onclick = () => tab("four");
  document.querySelector("[role=tablist]").onkeydown = (e) => {
    if (!["ArrowLeft", "ArrowRight"].includes(e.key)) return;
    const next = $("slide").hidden ? "slide" : "four";
    tab(next);
    $(`tab-${next}`).focus();
  };
  $("save").onclick = (e) => { e.preventDefault(); save(state.selected.result, savedName(state.selected)); };
  $("again").onclick = () => { add([state.selected.file]); state.awaited = state.items.at(-1); };
  $("zip").onclick = () => saveAll().catch((error) => fault(error.message));
  $("retry-all").onclick = () => state.items.filter((i) => ["failed", "cancelled"].includes(i.state)).forEach(retry);
  $("cancel-all").onclick = () => { state.items.forEach(cancel); summary(); };
  $("clear").onclick = () => {
    state.items.forEach(cancel);
    state.items = [];
    $("items").replaceChildren();
    state.picked = false;
    select(null);
    summary();
  };
  $("model").onchange = (e) => use(state.info.models.find((model) => model.name === e.target.value));
  $("copy").onclick = async () => {
    try { await navigator.clipboard.writeText($("curl").textContent); } catch { return getSelection().selectAllChildren($("curl")); }
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
  };
  addEventListener("beforeunload", (e) => { if (running().length) e.preventDefault(); });
  addEventListener("pagehide", () => running().forEach(cancel));
}

function fault(message) {
  $("fault").hidden = false;
  $("fault").textContent = message;
}

/** What the server says of itself, once it has loaded its models. */
async function ready() {
  for (;;) {
    let info = null;
    try { info = await api.info(); } catch (error) { if (!error.after) throw error; }
    if (info?.models.length) return info;
    $("about").textContent = "The server is loading its model";
    await sleep(500);
  }
}

async function start() {
  try { state.token = sessionStorage.getItem("unpaired-token") ?? ""; } catch { /* none */ }
  listen();
  try { state.info = await ready(); } catch (error) {
    $("about").textContent = "";
    $("add").hidden = true;
    return fault(`The page cannot start: ${error.message}`);
  }
  const { models, limits, formats, metadata } = state.info;
  $("model").append(...models.map(({ name }) => el("option", { textContent: name })));
  $("models").hidden = models.length < 2;
  const parts = [formats.input.filter((name) => !name.endsWith(" code stream")).join(", ")];
  if (limits.body_bytes) parts.push(`up to ${size(limits.body_bytes)}`);
  if (limits.pixels) parts.push(`${Math.round(limits.pixels / 1e6)} megapixels`);
  if (limits.zip_images) parts.push(`zip files of up to ${limits.zip_images} images`);
  $("limits").textContent = parts.join(" · ");
  $("privacy").textContent = metadata;
  use(models[0]);
  add(state.early.splice(0)); // files that came before the model was known
}
void start();
})();
