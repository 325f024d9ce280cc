// The model, as it plays: the equations of minigen's Python, under the same names and in the same order. No framework.
// A vector is a Float64Array; weights are {shape: [I, O], data: Float32Array}, row by row, or {shape: [O], data}.
// Where Python has (T, B, ...), here is one step of one piece. Numbers are float64, so they differ from Python's float32
// in the sixth digit: a uniform so close to the edge between two outcomes may fall on the other side.
"use strict";

// ---- ops.py

const join = (...parts) => {
  const whole = new Float64Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
};
const struckKeys = (keys) => [...keys.keys()].filter((k) => keys[k]);
const pitchClasses = (keys) => {
  const classes = new Float64Array(12);
  keys.forEach((on, k) => { if (on) classes[k % 12] = 1; });
  return classes;
};
const timeBits = (t, bits, bar, highFirst) => {
  const count = (((t % bar) + bar) % bar) + Math.floor(t / bar) * 16, found = new Float64Array(bits);
  for (let k = 0; k < bits; k++) found[highFirst ? bits - 1 - k : k] = Math.floor(count / 2 ** k) & 1;
  return found;
};
const endBits = (t, end, bits) => {  // end: null where it is not known
  const most = 2 ** bits - 1, left = end === null ? most : Math.min(Math.max(end - 1 - t, 0), most);
  return Float64Array.from({length: bits}, (_, k) => (left >> k) & 1);
};
const oneHot = (note, K) => {
  const row = new Float64Array(K);
  if (note < K) row[note] = 1;
  return row;
};

// ---- linear.py

const sigmoid = (x) => 0.5 * Math.tanh(0.5 * x) + 0.5;

// y = x W + b; inputs that are 0 cost nothing, and most are
function linear(x, W, b) {
  const [I, O] = W.shape, y = Float64Array.from(b.data), data = W.data;
  for (let i = 0; i < I; i++) {
    const value = x[i], row = i * O;
    if (value !== 0) for (let o = 0; o < O; o++) y[o] += value * data[row + o];
  }
  return y;
}

const silu = (x, W, b) => linear(x, W, b).map((a) => a * sigmoid(a));

function softmax(z) {
  const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
  const e = z.map((value) => (value > -Infinity ? Math.exp(value - top) : 0));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((value) => (total > 0 ? value / total : 0));  // 0 where every outcome is knocked out
}

// ---- lstm.py: the gates stand in the order i f o g

function lstm(layer, x, h, c) {
  const z = linear(x, layer.Wx, layer.b), H = h.length, Wh = layer.Wh.data;
  for (let i = 0; i < H; i++) {
    const value = h[i], row = i * 4 * H;
    if (value !== 0) for (let o = 0; o < 4 * H; o++) z[o] += value * Wh[row + o];
  }
  const newH = new Float64Array(H), newC = new Float64Array(H);
  for (let j = 0; j < H; j++) {
    newC[j] = sigmoid(z[H + j]) * c[j] + sigmoid(z[j]) * Math.tanh(z[3 * H + j]);
    newH[j] = sigmoid(z[2 * H + j]) * Math.tanh(newC[j]);
  }
  return [newH, newC];
}

// ---- reader.py: soft attention over a few lags, and the LSTMs around it
// past: the steps so far, the last one last; off: lags that are knocked out, which get no weight

function history(params, config, past, bits, state, off) {
  const x = past[past.length - 1], inputs = join(x, bits), next = {};
  next.reader = lstm(params.reader, inputs, ...state.reader);
  const z = linear(next.reader[0], params.weights.W, params.weights.b);
  const w = softmax(z.map((value, l) => (off.has(config.lags[l]) ? -Infinity : value)));
  const reading = new Float64Array(x.length);
  config.lags.forEach((lag, l) => {
    const then = past[past.length - lag];
    if (then && w[l] > 0) then.forEach((on, k) => { reading[k] += w[l] * on; });
  });
  next.local = lstm(params.local, inputs, ...state.local);
  const joined = config.skip ? join(reading, next.local[0], inputs) : join(reading, next.local[0]);
  next.aggregator = lstm(params.aggregator, joined, ...state.aggregator);
  return {features: next.aggregator[0], w, next};
}

// ---- voices.py

// One outcome of softmax(z), restricted to what is allowed, by inverse CDF in outcome order.
function draw(z, u, allowed) {
  z = allowed ? z.map((value, k) => (allowed[k] ? value : -Infinity)) : z;
  const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
  let sum = 0;
  const cdf = z.map((value) => (sum += Math.exp(value - top)));
  return cdf.filter((value) => value <= u * sum).length;
}

// Logits for such a draw: the pause, or stop, keeps its probability, and the keys share the rest.
function keepPauseProbability(z, allowed) {
  const K = z.length - 1, keys = z.slice(0, K), kept = keys.map((value, k) => (allowed[k] ? value : -Infinity));
  const logSum = (values) => {
    const top = values.reduce((a, b) => Math.max(a, b), -Infinity);
    return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
  };
  const anyKept = kept.some(Number.isFinite), shift = anyKept ? logSum(keys) - logSum(kept) : 0;
  return join(keys.map((value) => value + shift), z.slice(K));
}

const steeredDraw = (z, u, allowed) => draw(allowed ? keepPauseProbability(z, allowed) : z, u, allowed);

// Each voice reads what those before it played, and draws. What a muted voice plays is left out, and is not read.
function voices(params, config, features, state, given, temperature) {
  const p = [], notes = [], next = {};
  let played = new Float64Array(config.keys);
  for (let v = 0; v < config.voices; v++) {
    let h = join(features, played);
    const own = params[`voice${v + 1}`];
    if (own) h = (next[`voice${v + 1}`] = lstm(own, h, ...state[`voice${v + 1}`]))[0];
    const head = params[`head${v + 1}`], z = linear(h, head.W, head.b).map((value) => value / temperature);
    p.push(softmax(z));
    let note = given.notes ? given.notes[v]
      : given.truth ? draw(z, given.u[v], given.truth) : steeredDraw(z, given.u[v], given.allowed && given.allowed[v]);
    if (given.muted.has(v)) note = config.keys;
    notes.push(note);
    played = played.map((on, k) => (k === note ? 1 : on));
  }
  return {p, notes, played, next};
}

// ---- ordered.py: a step is told from the top down

function decide(params, features, played, last, temperature) {
  const K = played.length, under = last.indexOf(1);
  const h = silu(join(features, played, last), params.hidden.W, params.hidden.b);
  const more = silu(h, params.deeper.W, params.deeper.b);
  const z = linear(h.map((value, j) => value + more[j]), params.outcome.W, params.outcome.b);
  return z.map((value, k) => (k === K || under < 0 || k < under ? value / temperature : -Infinity));
}

// What a muted voice plays is left out; the voices after it still go on below it.
function ordered(params, config, features, given, temperature) {
  const K = config.keys, V = given.notes ? given.notes.length : config.voices, p = [], notes = [];
  let played = new Float64Array(K), last = new Float64Array(K), over = false;
  for (let v = 0; v < V; v++) {
    let z = decide(params, features, played, last, temperature);
    if (over || v === V - 1) z = z.map((value, k) => (k === K ? value : -Infinity));
    p.push(softmax(z));
    const note = given.notes ? given.notes[v] : outcome(z, v, given);
    notes.push(note);
    last = oneHot(note, K);
    if (!given.muted.has(v)) played = played.map((on, k) => (k === note ? 1 : on));
    over = over || note === K;
  }
  return {p, notes, played, next: {}};
}

// What ordered voice v plays: a melody is given to the first, keys from the ceiling on are masked.
function outcome(z, v, given) {
  const K = z.length - 1;
  if (given.ceiling !== undefined) z = z.map((value, k) => (k < given.ceiling || k === K ? value : -Infinity));
  let allowed = null;
  if (given.allowed) {
    allowed = given.allowed[v];
    const open = allowed.map((may, k) => may && Number.isFinite(z[k]));
    z = keepPauseProbability(z, open).map((value, k) => (allowed[k] ? value : -Infinity));
  }
  const note = draw(z, given.u[v], allowed), top = given.inject ? given.inject.lastIndexOf(1) : -1;
  return v === 0 && top >= 0 ? top : note;
}

// ---- union.py and ordered.py: the chance of each key

const union = (p, K) => Float64Array.from({length: K}, (_, k) => 1 - p.reduce((none, row) => none * (1 - row[k]), 1));

function chances(p, notes, K) {
  const P = new Float64Array(K), struck = new Set(notes);
  for (let k = K - 1, v = 0; k >= 0; k--) {
    let rest = p[v][K];
    for (let j = 0; j <= k; j++) rest += p[v][j];
    P[k] = rest > 0 ? p[v][k] / rest : 0;
    if (struck.has(k)) v++;
  }
  return P;
}

// ---- decoder.py: from 12 classes back to 88 keys

function octaves(params, x, classes, bits, state, given, temperature) {
  const next = {octave: lstm(params.octave, join(x, classes, bits), ...state.octave)};
  const z = linear(next.octave[0], params.keys.W, params.keys.b);
  const P = z.map((value, k) => (classes[k % 12] ? sigmoid(value / temperature) : 0));
  const keys = P.map((value, k) => (classes[k % 12] && given.decoderU[k] < value ? 1 : 0)), drawn = pitchClasses(keys);
  for (let c = 0; c < 12; c++) {
    if (!classes[c] || drawn[c]) continue;  // a class that is on and got no key takes its likeliest octave
    let best = c;
    for (let k = c; k < 88; k += 12) if (P[k] > P[best]) best = k;
    keys[best] = 1;
  }
  if (given.inject) {
    const injected = pitchClasses(given.inject);
    keys.forEach((_, k) => { if (injected[k % 12]) keys[k] = given.inject[k] ? 1 : 0; });
  }
  return {P, keys, next};
}

// ---- sustain.py: does a key go on? Asked from the top down, each key seen from where it lies

const NEAR = 16;
const around = (row, k, from, to) => Float64Array.from({length: to - from + 1}, (_, d) => row[k + from + d] || 0);

function sustain(params, struck, sounding, bits, state, u) {
  const next = {sustain: lstm(params.sustain, join(struck, sounding, bits), ...state.sustain)};
  const on = Float64Array.from(struck), p = new Float64Array(88).fill(NaN);  // NaN: not asked
  for (let k = 87; k >= 0; k--) {
    if (!sounding[k] || struck[k]) continue;
    const seen = join(next.sustain[0], around(struck, k, -NEAR, NEAR), around(sounding, k, -NEAR, NEAR),
                      around(on, k, 1, NEAR));
    const near = silu(seen, params.near.W, params.near.b);
    p[k] = sigmoid(linear(near, params.goes_on.W, params.goes_on.b)[0]);
    if (u[k] < p[k]) on[k] = 1;
  }
  return {on, p, next};
}
