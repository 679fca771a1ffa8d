// A study: blocks of trials, each a real and a generated image one after the other, a second each.
"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const told = JSON.parse($("told").textContent);
const query = new URLSearchParams(location.search);
const SECOND = 1000, BLANK = 300, BEFORE = 500, FEEDBACK = 1200; // milliseconds
const session = (query.get("session") ?? "").replace(/[^\w-]/g, "").slice(0, 64)
  || [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const answers = { format: 1, kind: "answers of an unpaired study", study: told.study, session, seed: told.seed,
  step: told.step, side: told.side,
  directions: Object.fromEntries(told.blocks.map((block) => [block.direction, { from: block.from, to: block.to }])),
  began: new Date().toISOString(), finished: false, trials: [] };
let running = false;

/** Numbers in [0, 1) that the seed and the participant settle: FNV-1a, then mulberry32. */
function random(text) {
  let state = 0x811c9dc5;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
function shuffled(items, next) {
  const order = [...items];
  for (let k = order.length - 1; k > 0; k--) {
    const other = Math.floor(next() * (k + 1));
    [order[k], order[other]] = [order[other], order[k]];
  }
  return order;
}
/** The trials of a block: which pair, and whether the real image is first, as often as not. */
function planned(block, part, next) {
  const pairs = block.real.map((_, k) => k);
  const chosen = part === "practice" ? pairs.slice(0, block.practice) : pairs.slice(block.practice);
  const sides = shuffled(chosen.map((_, k) => k % 2 === 0), next);
  return shuffled(chosen, next).map((pair, k) => ({ pair, realFirst: sides[k] }));
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const frame = () => new Promise((done) => requestAnimationFrame(done));
function show(id) {
  for (const section of document.querySelectorAll("section")) section.hidden = section.id !== id;
  scrollTo(0, 0);
}
function clicked(button) {
  button.focus();
  return new Promise((done) => { button.onclick = done; });
}

/** Shows an image for at least a second, in whole frames; returns the milliseconds it was seen. */
async function flash(image) {
  $("image").replaceWith(image);
  image.id = "image";
  image.hidden = false;
  const began = await frame();
  let now = began;
  while (now - began < SECOND - 8) now = await frame();
  image.hidden = true;
  return Math.round(now - began);
}
async function decoded({ data }) {
  const image = new Image();
  image.alt = "";
  image.hidden = true;
  image.src = data;
  await image.decode();
  image.classList.toggle("coarse", image.naturalWidth < 200);
  return image;
}

function chosen() {
  return new Promise((done) => {
    const began = performance.now();
    const choose = (answer) => {
      removeEventListener("keydown", key);
      for (const id of ["first", "second"]) { $(id).disabled = true; $(id).onclick = null; }
      done({ answer, ms: Math.round(performance.now() - began) });
    };
    const key = (event) => {
      const answer = { 1: "first", ArrowLeft: "first", 2: "second", ArrowRight: "second" }[event.key];
      if (!answer || event.repeat) return;
      event.preventDefault();
      choose(answer);
    };
    for (const id of ["first", "second"]) { $(id).disabled = false; $(id).onclick = () => choose(id); }
    addEventListener("keydown", key);
  });
}

async function trial(block, { pair, realFirst }, practice) {
  const two = [block.real[pair], block.generated[pair]];
  const images = await Promise.all((realFirst ? two : [...two].reverse()).map(decoded));
  $("feedback").textContent = "";
  $("question").hidden = true;
  $("cross").hidden = false;
  await sleep(BEFORE);
  $("cross").hidden = true;
  const seen = [await flash(images[0])];
  await sleep(BLANK);
  seen.push(await flash(images[1]));
  $("question").hidden = false;
  const { answer, ms } = await chosen();
  const fooled = (answer === "first") !== realFirst;
  answers.trials.push({ direction: block.direction, practice, real: two[0].name, generated: two[1].name,
    real_first: realFirst, answer, fooled, ms, shown: seen });
  if (practice) {
    $("feedback").textContent = `${fooled ? "No" : "Yes"}: the ${realFirst ? "first" : "second"} was real.`;
    await sleep(FEEDBACK);
  }
}

async function run(block, next) {
  $("question").textContent = `Which was a real image of ${block.to}?`;
  for (const part of ["practice", "test"]) {
    const trials = planned(block, part, next);
    if (!trials.length) continue;
    const practice = part === "practice";
    $("block-title").textContent = practice ? `Practice: ${block.to}` : `Images of ${block.to}`;
    $("block-what").textContent = practice
      ? `${trials.length} trials, which tell you whether you were right.`
      : `${trials.length} trials. From here on you are not told whether you were right.`;
    show("block");
    await clicked($("block-go"));
    show("trial");
    $("phase").textContent = practice ? "practice" : "";
    for (const [k, each] of trials.entries()) {
      $("count").textContent = `${k + 1} of ${trials.length}`;
      await trial(block, each, practice);
    }
  }
}

function save() {
  const name = `answers-${told.study.slice(0, 6)}-${session}.json`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([$("text").value], { type: "application/json" }));
  link.download = name;
  link.click();
}

async function start() {
  const next = random(`${told.seed}:${session}`);
  const blocks = shuffled(told.blocks, next);
  const trials = blocks.reduce((sum, block) => sum + block.real.length, 0);
  $("what").textContent = `You will see pairs of images of ${blocks.map((block) => block.to).join(", then of ")}. `
    + `It takes about ${Math.max(1, Math.ceil(trials * 4.5 / 60))} minutes.`;
  $("practice-line").textContent = blocks[0].practice
    ? "It begins with practice, which tells you whether you were right." : "There is no practice.";
  await clicked($("start"));
  running = true;
  for (const block of blocks) await run(block, next);
  running = false;
  answers.finished = true;
  answers.ended = new Date().toISOString();
  $("text").value = JSON.stringify(answers, null, 1);
  $("save").onclick = save;
  show("end");
  $("save").focus();
}
addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
void start();
})();
