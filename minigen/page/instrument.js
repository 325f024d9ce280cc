// What the page knows: the music so far with every number behind it, what was asked for, and what comes next. No screen.
"use strict";

class Instrument {
  constructor(model) {
    this.model = model;  // {config, layers, name, ...}
    this.config = model.config;
    this.bar = model.config.bar;
    this.settings = {seed: 0, temperature: 1, bpm: 120, bars: 16, key: "", chords: []};
    this.muted = new Set();  // voices
    this.off = new Set();    // lags
    this.melody = new Map(); // step -> Map(key -> steps that it sounds), to be harmonised
    this.turns = [];         // {begin, end, keys: Map(step -> Set(keys)), held}: what a person played
    this.pending = [];       // [key, step, steps]: what a person is playing now
    this.begin();
  }

  begin(seed = this.settings.seed) {
    this.settings.seed = seed;
    this.draws = stepsOf(this.config, seed);
    this.steps = [];
  }

  // Everything from step t on is to be played anew; nothing before it changes.
  changed(t) {
    if (t < this.steps.length) this.steps.length = Math.max(t, 0);
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
    for (const key of (this.melody.get(t) || new Map()).keys()) strikes[key] = 1;
    let ceiling = 88;
    if (!strikes.some(Boolean))
      for (const [begin, keys] of this.melody)
        for (const [key, length] of keys) if (begin < t && t < begin + length) ceiling = key;
    return [strikes, ceiling];
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
    this.steps.push({...made, mine: Boolean(turn), classes: this.classesAt(t)});
    return made;
  }

  // Notes that a person gave sound as long as they were held, whatever the sustain decoder would say.
  hold(made, t, turn) {
    const sounding = Float64Array.from(made.sounding);
    const keep = (key, begin, length) => { if (begin < t) sounding[key] = t < begin + length ? 1 : made.keys[key]; };
    for (const [begin, keys] of this.melody) for (const [key, length] of keys) if (t <= begin + length) keep(key, begin, length);
    if (turn) for (const [key, begin, length] of turn.held) if (t <= begin + length) keep(key, begin, length);
    made.sounding = made.state.sounding = sounding;
  }

  upTo(t, milliseconds = Infinity) {
    const until = performance.now() + milliseconds;
    while (this.steps.length < t && performance.now() < until) this.next();
    return this.steps.length >= t;
  }

  // A note of the melody on the roll: put it there, or take it away.
  toggleMelody(t, key, length) {
    const keys = this.melody.get(t) || new Map();
    if (keys.has(key)) keys.delete(key);
    else {
      for (const other of [...keys.keys()]) keys.delete(other);  // one line
      keys.set(key, length);
    }
    if (keys.size) this.melody.set(t, keys);
    else this.melody.delete(t);
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

  // How sure the network was, nats: the entropy of each voice's distribution.
  entropies(t) {
    return this.steps[t].trace["voices.p"].map((p) => -p.reduce((sum, q) => sum + (q > 0 ? q * Math.log(q) : 0), 0));
  }
}
