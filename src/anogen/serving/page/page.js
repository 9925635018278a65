"use strict";
// The page of the service: pictures or rows in, verdicts out. It asks nobody but its own service.

const $ = (id) => document.getElementById(id);
const AT_ONCE = 16; // files of one request
const EVERY_MS = 5000;

let cards = [];
let card = null;
let shown = []; // results on the page: {result, element, file}
let timer = 0;

function make(tag, options = {}, ...children) {
  const { on, data, ...rest } = options;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, listener] of Object.entries(on ?? {})) element.addEventListener(name, listener);
  for (const [name, value] of Object.entries(data ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

async function ask(path, options = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("the service does not answer; it may have been stopped");
  }
  if (answer.status === 401) lock(key !== null);
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(told.error ?? `status ${answer.status}`), { status: answer.status });
  }
  return answer;
}

const of = (extra = {}) => new URLSearchParams({ model: card.name, ...extra });

function lock(refused) {
  sessionStorage.removeItem("key");
  $("main").hidden = true;
  $("locked").hidden = false;
  $("refused").textContent = refused ? "This key does not open it." : "";
  $("key").focus();
}

async function start() {
  try {
    cards = (await (await ask("/v1/models")).json()).models;
  } catch (error) {
    if (error.status !== 401) document.body.append(make("p", { className: "error", textContent: error.message }));
    return;
  }
  $("locked").hidden = true;
  $("main").hidden = false;
  $("models").hidden = cards.length < 2;
  $("model").replaceChildren(...cards.map((each) => make("option", { value: each.name, textContent: each.name })));
  choose(cards[0].name);
}

function choose(name) {
  card = cards.find((each) => each.name === name);
  document.title = `${card.name} — anogen`;
  $("about").textContent = cards.length < 2 ? card.name : "";
  clear();
  const table = card.kind === "table";
  $("scoring").hidden = !card.score;
  $("hint").textContent = table
    ? "Choose a CSV file, or drop one here"
    : `Choose pictures, or drop them here. They are read as ${card.shape[2]}×${card.shape[1]}, ${card.shape[0] === 1 ? "grey" : "colour"}`;
  $("files").accept = table ? ".csv,.tsv,text/csv" : "image/*,.npy";
  $("mapped").hidden = table;
  $("paste").hidden = !table;
  $("results").classList.toggle("rows", table);
  if (table) {
    $("row").replaceChildren(...card.columns.map((column) =>
      make("label", {}, column.name, make("input", { type: "text", name: column.name, placeholder: column.kind }))));
  }
  if (card.score) setRates();
  setSliders();
  const translates = card.translates.length > 0;
  $("restoring").hidden = !card.restores && !translates;
  $("restoring-title").textContent = translates ? "Translate a picture" : "Restore a picture";
  $("save").textContent = `${translates ? "translated" : "restored"}: save it`;
  $("to-which").hidden = !translates;
  $("to").replaceChildren(...card.translates.map((name) => make("option", {}, name)));
  setCard();
  clearInterval(timer);
  timer = setInterval(look, EVERY_MS);
  look();
}

// The threshold

function setRates() {
  $("rate").max = card.promises.length - 1;
  $("rate").value = card.promises.findIndex((each) => each.rate === card.false_positive_rate);
  moveRate();
}

const percent = (share) => `${+(100 * share).toPrecision(2)} %`;

function moveRate() {
  const promise = card.promises[$("rate").value];
  $("promise").textContent = percent(promise.rate);
  $("rate").setAttribute("aria-valuetext", percent(promise.rate));
  $("interval").textContent =
    `Of what belongs, ${percent(promise.low)} to ${percent(promise.high)} is flagged, with a confidence of 95 %. ` +
    `Threshold ${promise.threshold.toPrecision(5)}.`;
  shown.forEach((entry) => {
    const before = entry.element.className;
    label(entry);
    if (entry.element.className !== before) draw(entry);
  });
  count();
}

function label({ result, element }) {
  if (result.error !== undefined) return;
  const out = result.p_value <= card.promises[$("rate").value].rate + 1e-12;
  element.classList.toggle("out", out);
  element.querySelector(".verdict").textContent = out ? "does not fit" : "fits";
}

function count() {
  const scored = shown.filter(({ result }) => result.error === undefined);
  const out = scored.filter(({ element }) => element.classList.contains("out")).length;
  $("tools").hidden = !shown.length;
  $("count").textContent = `${out} of ${scored.length} do not fit` +
    (scored.length < shown.length ? `, ${shown.length - scored.length} could not be read` : "");
}

// Scores

async function score(files) {
  if (!card) return;
  $("trouble").textContent = "";
  const groups = [];
  for (let i = 0; i < files.length; i += card.kind === "table" ? 1 : AT_ONCE) {
    groups.push(files.slice(i, i + (card.kind === "table" ? 1 : AT_ONCE)));
  }
  let done = 0;
  for (const group of groups) {
    $("status").textContent = `Scoring ${done + 1} to ${done + group.length} of ${files.length} …`;
    const form = new FormData();
    group.forEach((file) => form.append("file", file));
    try {
      await send(form, group, { explain: 1, nearest: card.kind === "table" ? 0 : 3 });
    } catch (error) {
      if (error.status !== 413) {
        $("trouble").textContent = error.message;
        break;
      }
      try { // more than are explained at once
        await send(form, group, {});
      } catch (second) {
        $("trouble").textContent = second.message;
        break;
      }
    }
    done += group.length;
  }
  $("status").textContent = "";
}

async function send(body, files, extra, headers = {}) {
  const answer = await (await ask(`/v1/score?${of(extra)}`, { method: "POST", body, headers })).json();
  const elements = answer.results.map((result) => add(result, card.kind === "table" ? null : files[result.file]));
  $("results").prepend(...elements);
  count();
}

function add(result, file) {
  const element = make("article", { className: "result" });
  const picture = file && file.type.startsWith("image/") ? make("canvas", { data: { role: "img" } }) : null;
  const place = card.kind === "table" ? `row ${result.index + 1}` : result.name + (result.index ? `, ${result.index}` : "");
  element.append(make("p", { className: "name", textContent: place }));
  if (result.error !== undefined) {
    element.classList.add("failed");
    element.append(make("p", { className: "verdict", textContent: "cannot be read" }), make("p", { textContent: result.error }));
  } else {
    element.append(
      ...(picture ? [picture] : []),
      make("p", { className: "verdict" }),
      make("dl", {},
        make("dt", { textContent: "score" }), make("dd", { textContent: result.score.toPrecision(5) }),
        make("dt", { textContent: "p-value" }), make("dd", { textContent: result.p_value.toPrecision(3) })));
    if (result.reasons?.length) {
      element.append(make("ul", {}, ...result.reasons.map((reason) => make("li", { textContent: reason }))));
    }
    if (result.nearest?.length) {
      element.append(make("p", { className: "name", textContent: "most similar in training" }),
        make("div", { className: "near" }, ...result.nearest.map((near) =>
          make("img", { src: `data:image/png;base64,${near.png}`, alt: "a training picture" }))));
    }
    if (result.id) element.append(judge(result, file));
  }
  const entry = { result, element, file, picture };
  shown.push(entry);
  label(entry);
  draw(entry);
  return element;
}

async function draw({ result, file, picture, element }) {
  if (!picture) return;
  picture.setAttribute("aria-label", result.name);
  const own = await createImageBitmap(file).catch(() => null);
  const map = result.map ? await bitmap(result.map.png) : null;
  const [width, height] = map ? [map.width, map.height] : [own?.width ?? 1, own?.height ?? 1];
  const scale = Math.max(1, Math.ceil(240 / width));
  picture.width = width * scale;
  picture.height = height * scale;
  const context = picture.getContext("2d");
  context.imageSmoothingEnabled = false;
  if (own) context.drawImage(own, 0, 0, picture.width, picture.height);
  if (!map || !$("show-map").checked || !element.classList.contains("out")) return;
  const layer = new OffscreenCanvas(map.width, map.height);
  const paint = layer.getContext("2d");
  paint.drawImage(map, 0, 0);
  const pixels = paint.getImageData(0, 0, map.width, map.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const value = pixels.data[i];
    pixels.data.set([255, 110, 0, value > 90 ? Math.min(200, value) : 0], i);
  }
  paint.putImageData(pixels, 0, 0);
  context.drawImage(layer, 0, 0, picture.width, picture.height);
}

async function bitmap(png) {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: "image/png" }));
}

function judge(result, file) {
  const said = make("span", { className: "soft", data: { role: "status" } });
  const button = (verdict, text) => make("button", {
    type: "button", textContent: text, data: { "aria-pressed": "false" },
    on: {
      click: async (event) => {
        try {
          await verdictOn(result.id, verdict, file);
          event.target.parentElement.querySelectorAll("button").forEach((each) =>
            each.setAttribute("aria-pressed", String(each === event.target)));
          said.textContent = "kept";
          look();
        } catch (error) {
          said.textContent = error.message;
        }
      },
    },
  });
  return make("div", { className: "judge" }, "In truth it is", button("good", "good"), button("bad", "bad"), said);
}

async function verdictOn(id, verdict, file) {
  if (file) {
    const form = new FormData();
    form.append("file", file);
    return ask(`/v1/feedback?${new URLSearchParams({ id, verdict })}`, { method: "POST", body: form });
  }
  return ask("/v1/feedback", {
    method: "POST", body: JSON.stringify({ id, verdict }), headers: { "Content-Type": "application/json" },
  });
}

function clear() {
  shown = [];
  $("results").replaceChildren();
  $("trouble").textContent = "";
  $("status").textContent = "";
  count();
}

// New pictures

function setSliders() {
  $("drawing").hidden = !card.sliders || card.labels.length > 0;
  $("samples").hidden = true;
  $("asking").hidden = !card.texts;
  if ($("drawing").hidden) return;
  $("sliders").replaceChildren(...Array.from({ length: card.sliders }, (_, i) => {
    const output = make("output", { textContent: "0" });
    const slider = make("input", {
      type: "range", min: -3, max: 3, step: 0.05, value: 0, data: { "aria-label": `latent ${i + 1}` },
      on: { input: () => { output.textContent = slider.value; decode(); } },
    });
    return make("label", {}, `latent ${i + 1}: `, output, slider);
  }));
  rest = [];
  decode();
}

let rest = []; // latents without a slider
let asked = 0;
let waiting = null;

// What is to be seen, of a run that takes texts
function text() {
  return card.texts && $("text").value.trim() ? { text: $("text").value.trim() } : {};
}

async function decode() {
  const sliders = [...$("sliders").querySelectorAll("input")];
  const latents = sliders.map((slider) => +slider.value);
  while (latents.length < card.latent) latents.push(rest[latents.length] ?? 0);
  waiting = latents;
  if (asked) return; // the answer to the last one asks for this one
  while (waiting) {
    asked = 1;
    const body = JSON.stringify({ latents: [waiting], ...text() });
    waiting = null;
    try {
      const answer = await ask(`/v1/sample?${of()}`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
      $("drawn").src = `data:image/png;base64,${(await answer.json()).images[0]}`;
    } catch (error) {
      $("trouble").textContent = error.message;
    }
    asked = 0;
  }
}

function setLatents(latents) {
  rest = latents;
  $("sliders").querySelectorAll("input").forEach((slider, i) => {
    slider.value = rest[i];
    slider.previousElementSibling.textContent = slider.value;
  });
  decode();
}

async function drawLatents() {
  try {
    const body = JSON.stringify({ count: 1, seed: Math.floor(Math.random() * 1e9) });
    const answer = await ask(`/v1/sample?${of()}`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    setLatents((await answer.json()).latents[0]);
  } catch (error) {
    $("trouble").textContent = error.message;
  }
}

async function sheet() {
  try {
    const body = JSON.stringify({ count: 25, seed: Math.floor(Math.random() * 1e9), ...text() });
    const answer = await ask(`/v1/sample?${of()}`, {
      method: "POST", body, headers: { "Content-Type": "application/json", Accept: "image/png" },
    });
    $("samples").src = URL.createObjectURL(await answer.blob());
    $("samples").hidden = false;
  } catch (error) {
    $("trouble").textContent = error.message;
  }
}

// Restoring and translating

async function restoreOne() {
  const file = $("damaged").files[0];
  if (!file) return;
  const [path, query] = card.translates.length ? ["/v1/translate", { to: $("to").value }] : ["/v1/restore", {}];
  $("restored-status").textContent = "Working …";
  $("given").parentElement.hidden = $("restored").parentElement.hidden = true;
  try {
    const form = new FormData();
    form.append("file", file);
    const answer = await ask(`${path}?${of(query)}`, { method: "POST", body: form });
    for (const [id, blob] of [["given", file], ["restored", await answer.blob()]]) {
      URL.revokeObjectURL($(id).src);
      $(id).src = URL.createObjectURL(blob);
      $(id).parentElement.hidden = false;
      $(id).onload = () => { $(id).style.width = `${Math.max($(id).naturalWidth, 192)}px`; };
    }
    $("save").href = $("restored").src;
    $("save").download = file.name;
    $("restored-status").textContent = "";
  } catch (error) {
    $("restored-status").textContent = error.message;
  }
  $("damaged").value = "";
}

// The model and the watch

function setCard() {
  const rows = {
    model: card.model, "trained on": `${card.data}, ${card.epochs} epoch${card.epochs === 1 ? "" : "s"}`,
    takes: card.kind === "table" ? `${card.columns.length} columns` : `pictures of ${card.any_size ? "any size" : `${card.shape[2]}×${card.shape[1]}`}, ${card.shape[0] === 1 ? "grey" : "RGB"}`,
    score: card.score ? `${card.score} (${card.source}), in ${card.unit}` : "none",
    "calibrated on": card.calibrated_on ? `${card.calibrated_on} examples that training has not seen` : "",
    version: card.version,
  };
  $("card").replaceChildren(...Object.entries(rows).filter(([, value]) => value).map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row", textContent: name }), make("td", { textContent: value }))));
}

async function look() {
  if (document.hidden) return;
  if (!card.score) {
    $("watching").hidden = true;
    return;
  }
  const asked = card; // another run may be chosen while this one's answers are on their way
  try {
    const watches = (await (await ask("/v1/watch")).json()).watches.filter((each) => each.model === asked.name);
    const verdicts = await (await ask(`/v1/feedback?${of({ model: asked.name })}`)).json();
    if (card !== asked) return;
    $("watching").hidden = false;
    $("watches").replaceChildren(...(watches.length ? watches.map(watch)
      : [make("p", { className: "soft", textContent: "Nothing of this version has been scored yet." })]));
    const { flagged_bad, flagged_good, passed_bad, passed_good } = verdicts.counts;
    const flagged = flagged_bad + flagged_good;
    $("verdicts").textContent = flagged + passed_bad + passed_good === 0
      ? "None. Say of results above whether they are good or bad in truth."
      : `Of ${flagged} that were flagged, ${flagged_bad} were bad` +
        (flagged ? ` (precision ${percent(flagged_bad / flagged)})` : "") +
        `; of ${passed_bad + passed_good} that were not, ${passed_bad} were bad.`;
  } catch (error) {
    if (card !== asked) return;
    $("watching").hidden = error.status === 404;
    clearInterval(timer);
    if (error.status !== 404 && error.status !== 401) $("trouble").textContent = error.message;
  }
}

function watch(each) {
  const last = each.alarms.at(-1);
  const { share, low, high, promised } = each.calling;
  const text = each.seen
    ? `${each.seen.toLocaleString("en")} scored, ${percent(share)} flagged (${percent(low)} to ${percent(high)}; promised ${percent(promised)}).`
    : "Nothing seen yet.";
  const element = make("div", { className: last ? "watch alarmed" : "watch" },
    make("p", {}, make("strong", { textContent: each.stream || "no stream named" }), `: ${text} `,
      last ? `${each.alarms.length} alarms; something has changed.` : "No sign of a change."));
  if (each.history.length > 1) element.append(chart(each));
  if (last) {
    element.append(make("ul", {}, ...each.alarms.slice(-5).reverse().map((alarm) =>
      make("li", { textContent: `after ${alarm.at.toLocaleString("en")}: ${alarm.text}` }))));
  }
  return element;
}

function chart(each) {
  const name = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(name, "svg");
  const high = Math.max(each.log10_limit * 1.2, ...each.history.map((point) => point.log10_capital));
  const low = Math.min(0, ...each.history.map((point) => point.log10_capital));
  const y = (value) => 100 * (1 - (value - low) / (high - low));
  const end = each.history.at(-1).at;
  svg.setAttribute("viewBox", "0 0 1000 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `evidence of change, as a power of ten; at ${each.log10_limit.toFixed(1)} there is an alarm`);
  const line = document.createElementNS(name, "polyline");
  line.setAttribute("class", "line");
  line.setAttribute("points", each.history.map((point) => `${1000 * point.at / end},${y(point.log10_capital)}`).join(" "));
  const limit = document.createElementNS(name, "line");
  limit.setAttribute("class", "limit");
  for (const [key, value] of Object.entries({ x1: 0, x2: 1000, y1: y(each.log10_limit), y2: y(each.log10_limit) })) {
    limit.setAttribute(key, value);
  }
  svg.append(limit, line);
  return make("figure", {}, svg, make("figcaption", {
    className: "soft",
    textContent: `Evidence of change, as a power of ten, over ${end.toLocaleString("en")} examples; dashed: an alarm.`,
  }));
}

// Listeners

$("locked").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value);
  start();
});
$("model").addEventListener("change", (event) => choose(event.target.value));
$("rate").addEventListener("input", moveRate);
$("files").addEventListener("change", async (event) => {
  await score([...event.target.files]);
  event.target.value = "";
});
$("clear").addEventListener("click", clear);
$("show-map").addEventListener("change", () => shown.forEach(draw));
$("random").addEventListener("click", drawLatents);
$("zero").addEventListener("click", () => setLatents(Array(card.latent).fill(0)));
$("sheet").addEventListener("click", sheet);
$("text").addEventListener("input", decode);
$("damaged").addEventListener("change", restoreOne);
$("send").addEventListener("click", async () => {
  $("trouble").textContent = "";
  const row = Object.fromEntries([...$("row").querySelectorAll("input")].map((field) => [field.name, field.value]));
  try {
    await send(JSON.stringify({ rows: [row] }), [], { explain: 1 }, { "Content-Type": "application/json" });
  } catch (error) {
    $("trouble").textContent = error.message;
  }
});
for (const name of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") score([...event.dataTransfer.files]);
  });
}
start();
