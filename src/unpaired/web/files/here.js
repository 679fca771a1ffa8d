// Translates in this browser: what `page.js` asks a server for where there is one.
"use strict";
(() => {
let worker = null, facts = null, turn = Promise.resolve(), number = 0, size = null;

class Failed extends Error {}

async function info() {
  if (location.protocol === "file:") {
    throw new Failed("browsers run it from a web server only: in its folder, start `python3 -m http.server` "
      + "and open http://localhost:8000");
  }
  const answer = await fetch("model.json");
  if (!answer.ok) throw new Failed(`model.json is missing (${answer.status})`);
  facts = await answer.json();
  offerSizes();
  void keep();
  return facts;
}

/** A network takes seconds for 256 pixels and minutes for 2048, so the visitor chooses. */
function offerSizes() {
  size = document.createElement("select");
  for (const side of [0, 1024, 512, 256]) {
    size.append(new Option(side ? `at most ${side} px` : "full size", side));
  }
  const label = document.createElement("label");
  label.className = "small";
  label.append("Size ", size);
  document.getElementById("limits").before(label);
}

/** Keeps all files in the browser, so that the page works without a network. */
async function keep() {
  if (!navigator.serviceWorker) return; // only over https, or from this machine
  try {
    await navigator.serviceWorker.register("offline.js");
    await navigator.serviceWorker.ready;
    const line = document.createElement("p");
    line.id = "offline";
    line.textContent = "This page is kept in the browser: it works without a network.";
    document.querySelector("footer").append(line);
  } catch { /* it works as long as there is a network */ }
}

/** One after another: two networks at once would take twice the memory and no less time. */
function translate(job, tell, signal) {
  const mine = turn.then(() => run(job, tell, signal));
  turn = mine.catch(() => {});
  return mine;
}

function run({ file, name, to }, tell, signal) {
  return new Promise((done, fail) => {
    if (signal?.aborted) return fail(new Failed("cancelled"));
    if (/\.zip$/i.test(name)) return fail(new Failed("zip files are not unpacked here: unpack it and drop the images"));
    const [model] = facts.models, { id } = model.directions.find((d) => d.to === to);
    const bands = [...id].map((domain) => model.domains[domain].bands);
    worker ??= new Worker("network.js", { type: "module" });
    const stop = (message) => { // what computes is only stopped with its worker
      worker?.terminate();
      worker = null;
      fail(new Failed(message));
    };
    signal?.addEventListener("abort", () => stop("cancelled"), { once: true });
    worker.onerror = (event) => stop(`the network does not run in this browser: ${event.message || "an error"}`);
    worker.onmessage = ({ data }) => {
      if (data.job !== number) return;
      if (data.state) tell(data);
      else if (data.error) { data.fatal ? stop(data.error) : fail(new Failed(data.error)); }
      else done({ blob: data.blob, warning: data.warning });
    };
    tell({ state: "running", total: 1, done: 0 });
    worker.postMessage({ job: ++number, file, direction: id, bands, most: facts.most_pixels, side: Number(size.value) });
  });
}

window.unpairedHere = {
  terminal: false,
  parallel: 1,
  info,
  translate,
  image: async (path) => (await fetch(path)).blob(),
};
})();
