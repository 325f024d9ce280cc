// Sound and files: the additive piano of music/synth.py, WAV, and MIDI as music/midi_out.py writes it.
"use strict";

const RATE = 44100, PARTIALS = 16, STIFF = 3e-4, ATTACK = 0.002, RELEASE = 0.08, LONGEST = 20, PEAK = 0.9;

// A held key -> so many samples: a sum of damped oscillations, each turned on by a complex product per sample.
function tone(key, samples, rate = RATE) {
  const f = 440 * 2 ** ((key - 48) / 12), sound = new Float32Array(samples), partials = [];
  let sum = 0;
  for (let h = 1; h <= PARTIALS; h++) {
    const frequency = f * h * Math.sqrt((1 + STIFF * h * h) / (1 + STIFF));
    const strength = frequency < rate / 2 ? h ** -1.3 * Math.sin((Math.PI * h) / 8 + 1e-3) : 0;
    sum += Math.abs(strength);
    partials.push([frequency, strength, (4 * 2 ** ((39 - key) / 18)) / (1 + 0.3 * (h - 1))]);
  }
  for (const [frequency, strength, slow] of partials)
    for (const [share, tau] of [[0.7, slow / 5], [0.3, slow]]) {
      const angle = (2 * Math.PI * frequency) / rate, decay = Math.exp(-1 / (tau * rate));
      const cos = decay * Math.cos(angle), sin = decay * Math.sin(angle);
      let re = (share * strength) / sum, im = 0;
      if (!re) continue;
      for (let n = 0; n < samples; n++) {
        sound[n] += im;
        [re, im] = [re * cos - im * sin, re * sin + im * cos];
      }
    }
  const ramp = Math.min(samples, Math.floor(ATTACK * rate));
  for (let n = 0; n < ramp; n++) sound[n] *= n / ramp;
  return sound;
}

const pan = (key) => Math.PI / 8 + ((key / 87) * Math.PI) / 4;  // low keys to the left

// Steps of {keys, sounding} -> notes {key, begin, end} in steps; an end is the next strike of the key, or its silence.
function notesOf(steps) {
  const notes = [], open = new Map();
  steps.forEach(({keys, sounding}, t) => {
    for (let key = 0; key < 88; key++) {
      if (open.has(key) && (keys[key] || !sounding[key])) {
        open.get(key).end = t;
        open.delete(key);
      }
      if (keys[key]) {
        const note = {key, begin: t, end: steps.length};
        notes.push(note);
        open.set(key, note);
      }
    }
  });
  return notes;
}

// A WAV file, 16 bits, stereo -> ArrayBuffer.
function wavOf(steps, bpm) {
  const frame = (t) => Math.round((t * 15 * RATE) / bpm), length = frame(steps.length), tones = new Map();
  const sides = [new Float32Array(length), new Float32Array(length)], fade = Math.floor(RELEASE * RATE);
  const notes = notesOf(steps).map(({key, begin, end}) => {
    const n = Math.min(frame(end) - frame(begin), LONGEST * RATE);
    tones.set(key, Math.max(n, tones.get(key) || 0));
    return {key, at: frame(begin), n};
  });
  for (const [key, n] of tones) tones.set(key, tone(key, n));
  for (const {key, at, n} of notes) {
    const sound = tones.get(key), gains = [Math.cos(pan(key)), Math.sin(pan(key))];
    for (let i = 0; i < n; i++) {
      const left = n - i, damp = left > fade ? 1 : Math.cos((Math.PI / 2) * (1 - left / fade)) ** 2;
      for (const side of [0, 1]) sides[side][at + i] += gains[side] * damp * sound[i];
    }
  }
  let peak = 0;
  for (const side of sides) for (const value of side) peak = Math.max(peak, Math.abs(value));
  const gain = (32767 * PEAK) / (peak || 1), file = new DataView(new ArrayBuffer(44 + 4 * length));
  const text = (at, word) => [...word].forEach((letter, i) => file.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); file.setUint32(4, 36 + 4 * length, true); text(8, "WAVEfmt "); file.setUint32(16, 16, true);
  file.setUint16(20, 1, true); file.setUint16(22, 2, true); file.setUint32(24, RATE, true);
  file.setUint32(28, 4 * RATE, true); file.setUint16(32, 4, true); file.setUint16(34, 16, true);
  text(36, "data"); file.setUint32(40, 4 * length, true);
  for (let i = 0; i < length; i++)
    for (const side of [0, 1]) file.setInt16(44 + 4 * i + 2 * side, Math.round(gain * sides[side][i]), true);
  return file.buffer;
}

// A MIDI file of one track, 480 ticks per quarter, one step per 16th -> Uint8Array.
function midiOf(steps, bpm, metre) {
  const track = [], quarter = Math.round(60e6 / bpm), letters = (text) => [...text].map((letter) => letter.charCodeAt(0));
  const number = (value) => (value < 128 ? [value] : [...number(value >> 7).map((byte) => byte | 128), value & 127]);
  if (metre !== "none") {
    const [beats, unit] = metre.split("/").map(Number);
    track.push(0, 0xff, 0x58, 4, beats, Math.log2(unit), 24, 8);
  }
  track.push(0, 0xff, 0x51, 3, (quarter >> 16) & 255, (quarter >> 8) & 255, quarter & 255, 0, 0xc0, 0);
  const events = notesOf(steps).flatMap(({key, begin, end}) => [[begin, 64, key], [end, 0, key]]);
  events.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);  // a release comes before a strike
  let now = 0;
  for (const [t, velocity, key] of events) {
    track.push(...number((t - now) * 120), 0x90, 21 + key, velocity);
    now = t;
  }
  const end = letters("minigen end");  // a reader takes the length from here, be there silence before it
  track.push(...number((steps.length - now) * 120), 0xff, 0x06, end.length, ...end, 0, 0xff, 0x2f, 0);
  const word = (n) => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
  return Uint8Array.from([...letters("MThd"), ...word(6), 0, 0, 0, 1, 1, 224, ...letters("MTrk"),
                          ...word(track.length), ...track]);
}

function save(name, type, bytes) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], {type}));
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const HELD = 4;  // seconds of a buffer: a longer note dies away with it

// What plays while the page runs: one buffer per key, made before it is due.
class Speaker {
  constructor() {
    this.context = null;
    this.buffers = new Map();
    this.playing = new Set();  // {source, gain, step}
  }

  start() {  // a browser lets a page sound only after a click
    const Context = window.AudioContext || window.webkitAudioContext;
    if (!this.context && Context) {
      this.context = new Context();
      this.out = this.context.createDynamicsCompressor();
      this.out.connect(this.context.destination);
    }
    if (this.context) this.context.resume();
  }

  buffer(key) {
    if (!this.buffers.has(key)) {
      const sound = tone(key, HELD * RATE), buffer = this.context.createBuffer(1, sound.length, RATE);
      buffer.copyToChannel(sound, 0);
      this.buffers.set(key, buffer);
    }
    return this.buffers.get(key);
  }

  prepare(steps) {  // one buffer at a time, of the keys of these steps
    if (!this.context) return;
    for (const {keys} of steps)
      for (const key of struckKeys(keys)) if (!this.buffers.has(key)) { this.buffer(key); return; }
  }

  // Sound a key in so many seconds, for so many seconds; `step` says which step of the music it is of.
  note(key, wait, seconds, step = -1) {
    if (!this.context) return;
    const source = this.context.createBufferSource(), gain = this.context.createGain();
    const at = this.context.currentTime + Math.max(wait, 0), end = at + Math.min(Math.max(seconds, 0.05), HELD - RELEASE);
    source.buffer = this.buffer(key);
    source.connect(gain);
    gain.gain.setValueAtTime(0.35, at);
    gain.gain.setValueAtTime(0.35, Math.max(at, end - RELEASE / 2));
    gain.gain.linearRampToValueAtTime(0, end + RELEASE / 2);
    if (this.context.createStereoPanner) {
      const side = this.context.createStereoPanner();
      side.pan.value = key / 87 - 0.5;
      gain.connect(side).connect(this.out);
    } else gain.connect(this.out);
    source.start(at);
    source.stop(end + RELEASE);
    const one = {source, gain, step};
    this.playing.add(one);
    source.onended = () => this.playing.delete(one);
  }

  silence(step = -Infinity) {  // the notes of this step, and of later ones
    for (const one of this.playing) {
      if (one.step < step) continue;
      const now = this.context.currentTime;
      one.gain.gain.cancelScheduledValues(now);
      one.gain.gain.setTargetAtTime(0, now, 0.015);
      one.source.stop(now + 0.1);
      this.playing.delete(one);
    }
  }
}
