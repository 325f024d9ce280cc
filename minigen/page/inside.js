// The numbers of one step: the lags, each voice's distribution, what came of it.
"use strict";

const percent = (p) => `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)}%`;

function element(kind, within, properties = {}) {
  const made = Object.assign(document.createElement(kind), properties);
  within.append(made);
  return made;
}

// A distribution over keys and perhaps the stop, as bars; `taken` is what was drawn.
function bars(canvas, p, taken, colour) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d"), each = width / p.length, top = Math.max(...p, 1e-9);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = colour("row");
  pen.fillRect(0, 0, width, height);
  p.forEach((value, k) => {
    const tall = (height - 2) * Math.sqrt(value / top);  // by the root, so that small ones can be seen
    pen.fillStyle = colour(taken.has(k) ? "mine" : "its");
    if (value > 0) pen.fillRect(k * each, height - tall, Math.max(each - 0.5, 1), tall);
  });
}

class Inside {
  constructor(instrument, colours, changed) {
    this.instrument = instrument;
    this.colours = colours;
    const {config} = instrument;
    this.lags = config.lags.map((lag) => {
      const row = element("div", document.getElementById("lags"), {className: "lag"});
      const button = element("button", row, {textContent: `${lag} steps`, title: this.ago(lag)});
      button.onclick = () => this.toggle(button, instrument.off, lag, changed);
      button.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-label", `${lag} steps back: knock out`);
      return {share: element("div", row, {className: "share"}), text: element("span", row)};
    });
    this.voices = Array.from({length: config.voices - (config.in_order ? 1 : 0)}, (_, v) => {
      const row = element("div", document.getElementById("voices"), {className: "voice"});
      const button = element("button", row, {textContent: `voice ${v + 1}`});
      button.onclick = () => this.toggle(button, instrument.muted, v, changed);
      button.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-label", `voice ${v + 1}: mute`);
      return {canvas: element("canvas", row), text: element("span", row)};
    });
    const result = document.getElementById("result");
    this.sure = element("p", result);
    this.chances = element("p", result);
    this.keys = element("canvas", result);
    this.decoder = config.keys === 12 && [element("p", result, {textContent: "The octaves of these classes, likely ones tall:"}),
                                          element("canvas", result)][1];
    this.lengths = element("p", result);
  }

  ago(lag) {
    const {bar} = this.instrument;
    return lag % bar ? `${lag / 4} quarters before` : `${lag / bar} bars before`;
  }

  toggle(button, set, what, changed) {
    if (!set.delete(what)) set.add(what);
    button.setAttribute("aria-pressed", String(set.has(what)));
    changed();
  }

  name(note) {
    const {keys} = this.instrument.config;
    if (note >= keys) return this.instrument.config.in_order ? "stops" : "pauses";
    return keys === 12 ? NAMES[note] : nameOf(note);
  }

  show(t) {
    const {instrument} = this, made = instrument.steps[t];
    if (!made || !made.trace) return;
    const {trace} = made, {config} = instrument, colour = this.colours();
    const entropies = instrument.entropies(t);
    trace["reader.w"].forEach((w, l) => {
      this.lags[l].share.style.width = `${Math.round(110 * w)}px`;
      const then = instrument.steps[t - config.lags[l]];
      const found = then ? struckKeys(then.keys).map(nameOf).join(" ") || "(nothing struck)" : "(before the piece)";
      this.lags[l].text.textContent = `${percent(w)} ${found}`;
    });
    this.voices.forEach(({canvas, text}, v) => {
      const p = trace["voices.p"][v], note = trace["voices.notes"][v], told = made.mine ? "" : `, u ${trace["voices.u"][v].toFixed(4)}`;
      const over = config.in_order && trace["voices.notes"].slice(0, v).includes(config.keys);
      bars(canvas, over ? p.map(() => 0) : p, new Set([note]), colour);
      text.textContent = over ? "after the stop" : `${this.name(note)} ${percent(p[note])}${told}`;
      text.title = `its chance ${p[note].toFixed(6)}`;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `voice ${v + 1} ${text.textContent}`);
    });
    const keys = struckKeys(made.keys);
    const struck = new Set(config.keys === 12 ? keys.map((k) => k % 12) : keys);
    const most = Math.log(config.keys + 1), told = config.in_order ? struck.size + 1 : config.voices;
    const sum = entropies.slice(0, told).reduce((a, b) => a + b, 0);
    this.sure.textContent = `How unsure it was: ${sum.toFixed(2)} nats, the entropy of ${told} ${told === 1 ? "draw" : "draws"}, of at most ${(told * most).toFixed(2)}.`;
    this.chances.textContent = `Struck: ${keys.map(nameOf).join(" ") || "nothing"}. The chance of each ${config.keys === 12 ? "class" : "key"}:`;
    bars(this.keys, trace["cells.P"], struck, colour);
    if (this.decoder) bars(this.decoder, trace["decoder.p"], new Set(keys), colour);
    const going = trace["sustain.p"] || [], asked = [...going.keys()].filter((k) => !Number.isNaN(going[k]));
    this.lengths.textContent = asked.length
      ? `Goes on sounding? ${asked.map((k) => `${nameOf(k)} ${percent(going[k])} ${made.sounding[k] ? "yes" : "no"}`).join(", ")}` : "";
  }

  words(t) {
    const {instrument} = this, made = instrument.steps[t], {bar} = instrument;
    if (!made) return "";
    const struck = struckKeys(made.keys).map(nameOf).join(" "), goOn = struckKeys(made.sounding).filter((k) => !made.keys[k]);
    const keys = `${struck || "nothing is struck"}${goOn.length ? `; ${goOn.map(nameOf).join(" ")} go on` : ""}`;
    return `Step ${t}, bar ${Math.floor(t / bar) + 1}, 16th ${(t % bar) + 1} of ${bar}: ${made.mine ? "yours: " : ""}${keys}.`;
  }
}
