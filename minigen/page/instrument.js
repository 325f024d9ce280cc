// What the page knows: the music so far with every number behind it, what was asked for, and what comes next. No screen.
"use strict";

const KEPT = 4096;  // steps whose numbers and states are kept, some 80 MB; of older ones the notes stay

class Instrument {
  constructor(model) {
    this.model = model;  // {config, layers, name, ...}
    this.config = model.config;
    this.bar = model.config.bar;
    this.settings = {seed: 0, temperature: 1, bpm: 120, bars: 16, key: "", chords: []};
    this.muted = new Set();  // voices
    this.off = new Set();    // lags
    this.melody = new Map(); // step -> {key, length}, to be harmonised: one line, a note ends where the next begins
    this.turns = [];         // {begin, end, keys: Map(step -> Set(keys)), held}: what a person played
    this.pending = [];       // [key, step, steps]: what a person is playing now
    this.begin();
  }

  begin(seed = this.settings.seed) {
    this.settings.seed = seed;
    this.draws = stepsOf(this.config, seed);
    this.steps = [];
  }

  // Everything from step t on is to be played anew; nothing before it changes, nor what is older than KEPT steps.
  changed(t) {
    t = Math.max(t, this.steps.findIndex(({state}) => state) + (this.steps.length > KEPT ? 1 : 0), 0);
    if (t < this.steps.length) this.steps.length = t;
  }

  turnAt(t) {
    return this.turns.find((turn) => turn.begin <= t && t < turn.end);
  }

  // The classes that may sound at step t, or null.
  classesAt(t) {
    const {key, chords} = this.settings;
    const sets = [key && classesOf(key, SCALES), chords.length && classesOf(chords[Math.floor(t / this.bar) % chords.length], CHORDS)];
    const asked = sets.filter(Boolean);
    if (!asked.length) return null;
    const both = asked.reduce((a, b) => a.map((on, c) => on * b[c]));
    return both.some(Boolean) ? both : asked[asked.length - 1];  // a chord foreign to the key is played for all that
  }

  // The melody's keys that strike at step t, and its key that sounds on from before, or 88.
  melodyAt(t) {
    const strikes = new Float64Array(88);
    const begin = Math.max(...[...this.melody.keys()].filter((step) => step <= t)), note = this.melody.get(begin);
    if (begin === t) strikes[note.key] = 1;
    return [strikes, note && begin < t && t < begin + note.length ? note.key : 88];
  }

  given(t) {
    const draws = this.draws(t), turn = this.turnAt(t), given = {...draws, muted: this.muted, off: this.off};
    if (turn) {
      given.keys = new Float64Array(88);
      for (const key of turn.keys.get(t) || []) given.keys[key] = 1;
      if (this.config.in_order) {
        const told = [...given.keys.keys()].filter((k) => given.keys[k]).reverse();
        const V = Math.max(this.config.voices, told.length + 1);
        given.notes = Array.from({length: V}, (_, v) => (v < told.length ? told[v] : this.config.keys));
      } else given.truth = [...pitchClasses(given.keys), 1];
      given.muted = new Set();
      return given;
    }
    return {...given, ...steered(this.config, this.classesAt(t), ...this.melodyAt(t))};
  }

  // The next step. Pieces of so many bars follow one another: each is told where it ends.
  next() {
    const {layers} = this.model, t = this.steps.length, long = this.settings.bars * this.bar;
    const before = t ? this.steps[t - 1].state : initialState(layers, this.config);
    const state = {...before, end: this.config.end_bits ? long * (Math.floor(t / long) + 1) : null};
    const made = step(layers, this.config, state, this.given(t), this.settings.temperature);
    const turn = this.turnAt(t);
    if (turn || this.melody.size) this.hold(made, t, turn);
    this.steps.push({...made, mine: Boolean(turn), keys: Uint8Array.from(made.keys), sounding: Uint8Array.from(made.sounding)});
    if (t >= KEPT) this.steps[t - KEPT].state = this.steps[t - KEPT].trace = null;
  }

  // Notes that a person gave sound as long as they were held, whatever the sustain decoder would say.
  hold(made, t, turn) {
    const sounding = Float64Array.from(made.sounding);
    const given = [...[...this.melody].map(([begin, {key, length}]) => [key, begin, length]), ...(turn ? turn.held : [])];
    for (const [key, begin, length] of given)
      if (begin < t && t <= begin + length && this.steps[begin].keys[key]) sounding[key] = t < begin + length ? 1 : made.keys[key];
    made.sounding = made.state.sounding = sounding;
  }

  upTo(t, milliseconds = Infinity) {
    const until = performance.now() + milliseconds;
    while (this.steps.length < t && performance.now() < until) this.next();
    return this.steps.length >= t;
  }

  // A note of the melody on the roll: put it there, or take it away.
  toggleMelody(t, key, length) {
    const there = this.melody.get(t);
    if (there && there.key === key) this.melody.delete(t);
    else this.melody.set(t, {key, length});
    const begins = [...this.melody.keys()].sort((a, b) => a - b);
    begins.slice(1).forEach((next, n) => {
      const note = this.melody.get(begins[n]);
      note.length = Math.min(note.length, next - begins[n]);
    });
    this.changed(t);
  }

  // What a person played from step `begin` to `end`: notes [key, step, length]. It becomes the model's past.
  listened(begin, end, notes) {
    const keys = new Map();
    for (const [key, t] of notes) keys.set(t, (keys.get(t) || new Set()).add(key));
    this.turns = this.turns.filter((turn) => turn.end <= begin || turn.begin >= end);
    this.turns.push({begin, end, keys, held: notes});
    this.changed(begin);
  }

  // The entropy of each voice's distribution, nats.
  entropies(t) {
    return this.steps[t].trace["voices.p"].map((p) => -p.reduce((sum, q) => sum + (q > 0 ? q * Math.log(q) : 0), 0));
  }
}
