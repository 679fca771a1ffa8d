// The worker of the page: decodes an image, runs a network on it, encodes the result.
import * as ort from "./ort.wasm.min.mjs";

const STRIDE = 4, SMALLEST = 8;
const sessions = new Map();
let rate = 0; // pixels a second of the image before
// More than one thread takes the headers that `offline.js` gives from the second visit on.
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;

self.onmessage = async ({ data: { job, file, direction, bands, most, side } }) => {
  try {
    const session = await load(direction, (share) => self.postMessage({ job, state: "loading", share }));
    const { image, warning } = await decode(file, most, side);
    const pixels = image.width * image.height, began = performance.now();
    self.postMessage({ job, state: "running", total: 1, done: 0, seconds_left: rate ? pixels / rate : null });
    const result = await translate(session, image, bands);
    rate = 1000 * pixels / Math.max(performance.now() - began, 1);
    const canvas = new OffscreenCanvas(image.width, image.height);
    canvas.getContext("2d").putImageData(result, 0, 0);
    self.postMessage({ job, blob: await canvas.convertToBlob({ type: "image/png" }), warning });
  } catch (error) {
    const memory = error instanceof RangeError || /alloc|memory|out of bounds/i.test(error.message);
    self.postMessage({ job, fatal: memory, error: memory
      ? "this browser has too little memory for it: give a smaller image" : error.message });
  }
};

async function load(direction, tell) {
  if (!sessions.has(direction)) {
    const answer = await fetch(`model-${direction}.onnx`);
    if (!answer.ok) throw new Error(`the network cannot be loaded (${answer.status}): is there a connection?`);
    const total = Number(answer.headers.get("Content-Length")), parts = [];
    let length = 0;
    for await (const part of pieces(answer.body)) {
      parts.push(part);
      length += part.length;
      tell(total >= length ? length / total : 0);
    }
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    sessions.set(direction, await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }));
  }
  return sessions.get(direction);
}

async function* pieces(stream) { // not every browser can loop over a stream itself
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** The samples of an image as its file has them: turned upright, colours not converted. */
async function decode(file, most, side) {
  let map;
  try {
    map = await createImageBitmap(file,
      { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none" });
  } catch { throw new Error("this browser cannot decode it: give a PNG, JPEG or WebP image"); }
  const fits = Math.sqrt(most / (map.width * map.height)), wanted = (side || Infinity) / Math.max(map.width, map.height);
  const scale = Math.min(1, fits, wanted);
  const width = Math.max(1, Math.round(map.width * scale)), height = Math.max(1, Math.round(map.height * scale));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(map, 0, 0, width, height);
  const why = fits < wanted ? "which a browser has memory for" : "as chosen";
  const warning = scale < 1 ? `reduced from ${map.width} × ${map.height} to ${width} × ${height} pixels, ${why}` : "";
  map.close();
  return { image: context.getImageData(0, 0, width, height), warning };
}

/** The place that a mirrored one is the image of, without repeating the edge. */
function mirrored(index, size) {
  if (size === 1) return 0;
  const period = 2 * (size - 1), within = index % period;
  return within < size ? within : period - within;
}

async function translate(session, { data, width, height }, [bandsIn, bandsOut]) {
  const padded = (side) => Math.max(Math.ceil(side / STRIDE) * STRIDE, SMALLEST);
  const rows = padded(height), columns = padded(width), plane = rows * columns;
  const input = new Float32Array(bandsIn * plane);
  const across = Int32Array.from({ length: columns }, (_, x) => 4 * mirrored(x, width));
  for (let y = 0, at = 0; y < rows; y++) {
    const row = 4 * width * mirrored(y, height);
    for (let x = 0; x < columns; x++, at++) {
      const pixel = row + across[x], alpha = data[pixel + 3];
      const over = (band) => alpha === 255 ? data[pixel + band] // over white, as in training
        : Math.floor((data[pixel + band] * alpha + 255 * (255 - alpha) + 127) / 255);
      if (bandsIn === 1) {
        input[at] = ((over(0) * 19595 + over(1) * 38470 + over(2) * 7471 + 32768) >> 16) / 127.5 - 1;
      } else for (let band = 0; band < 3; band++) input[at + band * plane] = over(band) / 127.5 - 1;
    }
  }
  const tensor = new ort.Tensor("float32", input, [1, bandsIn, rows, columns]);
  const given = (await session.run({ [session.inputNames[0]]: tensor }))[session.outputNames[0]];
  const signed = given.data, result = new ImageData(width, height);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 4) {
      const at = y * columns + x;
      for (let band = 0; band < 3; band++) { // a Uint8ClampedArray rounds half to even, and clips
        result.data[to + band] = (signed[at + (bandsOut === 1 ? 0 : band * plane)] + 1) * 127.5;
      }
      result.data[to + 3] = data[to + 3];
    }
  }
  tensor.dispose();
  given.dispose();
  return result;
}
