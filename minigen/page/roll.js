// The piano roll: notes, bars, the playhead, and arcs to what the reader looks at.
"use strict";

const NAMES = ["A", "A#", "B", "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#"];
const nameOf = (key) => NAMES[key % 12] + Math.floor((key + 9) / 12);
const isBlack = (key) => NAMES[key % 12].length > 1;
const LEFT = 38, TOP = 64;  // pixels: the key names, the arcs

class Roll {
  constructor(canvas, instrument) {
    this.canvas = canvas;
    this.instrument = instrument;
    this.first = 0;  // the leftmost step
    this.until = Infinity;  // of a person's turn, its beginning: what was to come is not shown
    [this.low, this.high] = [15, 63];  // the keys that are shown: C2 to C6, and what is played beyond
  }

  get step() { return this.canvas.clientWidth < 600 ? 7 : 10; }
  get row() { return Math.max(4, Math.floor((this.canvas.clientWidth < 600 ? 300 : 400) / (this.high - this.low + 1))); }
  get tall() { return (this.high - this.low + 1) * this.row; }
  get shown() { return (this.canvas.clientWidth - LEFT) / this.step; }

  colours() {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue(`--${name}`).trim();
  }

  at(event) {  // where a click is -> [step, key]
    const box = this.canvas.getBoundingClientRect();
    const step = Math.floor(this.first + (event.clientX - box.left - LEFT) / this.step);
    return [Math.max(step, 0), this.high - Math.floor((event.clientY - box.top - TOP) / this.row)];
  }

  follow(position) {
    if (position < this.first + 2 || position > this.first + 0.75 * this.shown)
      this.first = Math.max(0, Math.floor(position - 0.6 * this.shown));
  }

  fit(steps) {  // the range of keys grows to hold these steps
    for (const {keys} of steps)
      for (let key = 0; key < 88; key++)
        if (keys[key]) [this.low, this.high] = [Math.min(this.low, key), Math.max(this.high, key)];
  }

  draw(position, chosen) {
    this.fit(this.instrument.steps.slice(Math.max(0, Math.floor(this.first) - 64), Math.ceil(this.first + this.shown)));
    const {canvas, instrument, step, row, tall} = this, colour = this.colours(), scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = TOP + tall + 2;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.style.height = `${height}px`;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d"), x = (t) => LEFT + (t - this.first) * step, y = (key) => TOP + (this.high - key) * row;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.fillStyle = colour("paper");
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = colour("row");
    for (let key = this.low; key <= this.high; key++) if (isBlack(key)) pen.fillRect(LEFT, y(key), width, row);
    const last = Math.ceil(this.first + this.shown), {bar} = instrument;
    pen.font = "11px system-ui, sans-serif";
    for (let t = Math.floor(this.first / 4) * 4; t < last; t += 4) {
      if (x(t) < LEFT) continue;
      pen.fillStyle = colour(t % bar ? "faint" : "line");
      pen.fillRect(x(t), TOP, 1, tall);
      if (t % bar) continue;
      pen.fillStyle = colour("dim");
      pen.fillText(`${t / bar + 1}`, x(t) + 3, TOP - 4);
      const {chords} = instrument.settings;
      if (chords.length) pen.fillText(chords[(t / bar) % chords.length], x(t) + 22, TOP - 4);
    }
    this.arcs(pen, colour, x, y, chosen);
    this.notes(pen, colour, x, y, position);
    pen.fillStyle = colour("paper");
    pen.fillRect(0, TOP - 2, LEFT - 2, height);
    pen.fillStyle = colour("dim");
    for (let key = 3; key < 88; key += 12)
      if (key >= this.low && key <= this.high) pen.fillText(nameOf(key), 6, y(key) + row);
    pen.fillStyle = colour("now");
    pen.fillRect(x(position) - 1, TOP - 14, 2, height);
    pen.strokeStyle = colour("now");
    if (chosen < instrument.steps.length) pen.strokeRect(x(chosen) + 0.5, TOP - 1, step - 1, tall + 1);
  }

  arcs(pen, colour, x, y, chosen) {
    const made = this.instrument.steps[chosen];
    if (!made || !made.trace) return;
    const {lags} = this.instrument.config, w = made.trace["reader.w"];
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    pen.clip();
    lags.forEach((lag, l) => {
      const then = chosen - lag, from = x(chosen) + this.step / 2, to = x(then) + this.step / 2;
      if (w[l] < 0.01) return;
      pen.globalAlpha = 0.25 + 0.75 * w[l];
      pen.strokeStyle = pen.fillStyle = colour("its");
      pen.lineWidth = 1 + 9 * w[l];
      pen.beginPath();
      pen.moveTo(from, TOP - 16);
      pen.quadraticCurveTo((from + to) / 2, TOP - 16 - Math.min(90, 30 + lag / 2), to, TOP - 16);
      pen.stroke();
      if (then < 0) return;
      pen.globalAlpha = 0.12 + 0.5 * w[l];
      pen.fillRect(x(then), TOP, this.step, this.tall);
    });
    pen.restore();
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
  }

  notes(pen, colour, x, y, position) {
    const {instrument, step, row} = this, from = Math.max(0, Math.floor(this.first) - 64);
    const shown = instrument.steps.slice(from, Math.ceil(this.first + this.shown) + 1);
    for (const {key, begin, end} of notesOf(shown)) {
      const t = from + begin, melody = instrument.melody.get(t), mine = instrument.steps[t].mine || (melody && melody.key === key);
      const left = Math.max(x(t), LEFT), right = x(from + end) - 1;
      if (right < LEFT || (t >= this.until && !mine)) continue;
      pen.globalAlpha = t < position ? 1 : 0.5;
      pen.fillStyle = colour(mine ? "mine" : "its");
      pen.fillRect(left, y(key), right - left, row);
      if (mine) {
        pen.strokeStyle = colour("ink");
        pen.strokeRect(left + 0.5, y(key) + 0.5, Math.max(right - left - 1, 1), row - 1);
      }
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colour("mine");
    for (const [key, t, length] of instrument.pending)
      pen.fillRect(Math.max(x(t), LEFT), y(key), Math.max(length, 0.5) * step - 1, row);
  }
}
