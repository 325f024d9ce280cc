// Play, pause, seek, choose; what a person plays, and its answer.
"use strict";

const $ = (id) => document.getElementById(id);
const AHEAD = 64, SLICE = 8;  // steps computed before they are due; milliseconds at a time

class Page {
  constructor(model) {
    this.instrument = new Instrument(model);
    this.speaker = new Speaker();
    this.roll = new Roll($("roll"), this.instrument);
    this.inside = new Inside(this.instrument, () => this.roll.colours(), () => this.anew());
    this.playing = false;
    this.position = 0;   // in steps
    this.sounded = 0;    // steps whose notes are under way
    this.chosen = 0;     // the step that is shown
    this.answering = false;
    this.held = new Map();  // keys that are down -> the step
    this.heardAlready = new Set();  // of the melody, when it is played on the keys
    this.waits = 0;      // how often the playhead had to wait for the model
    $("about").textContent = model.about;
    this.controls();
    piano(this);
    this.show();
    setInterval(() => this.tick(), 20);
    const frame = () => { this.draw(); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
  }

  get seconds() { return 15 / this.instrument.settings.bpm; }  // of a step

  // What follows the playhead is made again: what was asked for has changed.
  anew(t = Math.floor(this.position) + (this.playing ? 2 : 0)) {
    this.instrument.changed(t);
    if (this.sounded > t) this.hush(t);
    this.shown = null;
  }

  hush(t) {
    this.speaker.silence();
    this.sounded = t;
  }

  tick() {
    const {instrument} = this, now = performance.now();
    const listening = this.listening && this.playing;
    if (this.playing) {
      const to = this.position + (now - this.before) / 1000 / this.seconds;
      const ready = listening ? Infinity : instrument.steps.length;
      if (to > ready) this.waits += 1;
      this.position = Math.min(to, ready);
    }
    this.before = now;
    if (listening) this.listen();
    else instrument.upTo(Math.floor(this.position) + AHEAD, SLICE);
    if (this.playing && !this.listening) this.sound();
    if (this.playing) this.chosen = Math.min(Math.floor(this.position), Math.max(instrument.steps.length - 1, 0));
  }

  sound() {  // half a second ahead
    const until = Math.min(this.position + 0.5 / this.seconds, this.instrument.steps.length - 1);
    while (this.sounded <= until) {
      const t = this.sounded++, {keys, mine} = this.instrument.steps[t];
      if (mine) continue;  // it was heard when it was played
      const rest = this.instrument.steps.slice(t, t + AHEAD);
      for (let key = 0; key < 88; key++) {
        if (!keys[key] || this.heardAlready.delete(`${t} ${key}`)) continue;
        let n = 1;
        while (n < rest.length && rest[n].sounding[key] && !rest[n].keys[key]) n++;
        this.speaker.note(key, (t - this.position) * this.seconds, n * this.seconds);
      }
    }
  }

  play(on = !this.playing) {
    this.playing = on;
    this.before = performance.now();
    if (on) this.speaker.start();
    this.hush(Math.floor(this.position));
    if (on && this.answering && !this.listening) this.listenFrom(this.position);
    $("play").textContent = on ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", String(on));
    this.shown = null;
  }

  seek(t) {
    this.position = this.chosen = Math.max(t, 0);
    this.listening = null;
    if (this.playing && this.answering) this.listenFrom(t);
    this.hush(t);
    this.roll.follow(t);
  }

  // ---- it answers: bars that a person plays, then as many of its own

  listenFrom(position) {
    const {bar} = this.instrument, begin = Math.ceil(position / bar) * bar;
    this.listening = {begin, notes: this.instrument.pending = []};
  }

  listen() {
    const {instrument, listening} = this, {bar} = instrument, t = Math.floor(this.position);
    if (t < listening.begin) {
      instrument.upTo(listening.begin, SLICE);
      this.sound();
      return;
    }
    const silent = !this.held.size && listening.notes.every(([, begin]) => begin < t - bar / 2);
    if (t % bar || !listening.notes.length || !silent) return;
    const notes = listening.notes.map(([key, begin, length]) => [key, begin, Math.max(length, 1)]);
    instrument.listened(listening.begin, t, notes);
    instrument.pending = [];
    instrument.upTo(t + 1);
    this.sounded = t;
    this.listening = null;
    this.answerEnds = t + (t - listening.begin);
  }

  down(key) {
    if (this.held.has(key)) return;
    this.speaker.start();
    this.speaker.note(key, 0, 1.2);
    const t = Math.round(this.position);
    this.held.set(key, t);
    if (this.listening && t >= this.listening.begin - 1) {
      const begin = Math.max(t, this.listening.begin);
      this.listening.notes.push([key, begin, 1]);
      this.held.set(key, begin);
    } else if ($("draw").getAttribute("aria-pressed") === "true") {
      this.heardAlready.add(`${t} ${key}`);
      this.give(t, key);
    }
  }

  up(key) {
    const begin = this.held.get(key);
    this.held.delete(key);
    const note = this.listening && this.listening.notes.findLast(([k, t]) => k === key && t === begin);
    if (note) note[2] = Math.max(1, Math.round(this.position) - begin);
  }

  give(t, key) {
    this.instrument.toggleMelody(t, key, Number($("length").value));
    this.anew(Math.min(t, this.instrument.steps.length));
    this.speaker.start();
  }

  // ---- what is drawn

  draw() {
    if (this.answerEnds && this.position >= this.answerEnds) {
      this.answerEnds = 0;
      if (this.answering) this.listenFrom(this.position);
    }
    if (this.playing) this.roll.follow(this.position);
    this.roll.draw(this.position, this.chosen);
    this.show();
  }

  show() {
    if (this.shown === this.chosen && !this.playing && this.drawn === this.instrument.steps.length) return;
    if (this.shown === this.chosen && this.playing) return;
    if (!this.instrument.steps[this.chosen]) return;
    this.inside.show(this.chosen);
    this.shown = this.chosen;
    this.drawn = this.instrument.steps.length;
    const now = Math.floor(this.position), turn = this.listening && now >= this.listening.begin;
    $("now").textContent = turn ? "Your turn: play. It answers when you have left half a bar silent." : this.inside.words(this.chosen);
  }

  // ---- controls

  controls() {
    const {instrument} = this, {settings} = instrument;
    $("play").onclick = () => this.play();
    const piece = (seed) => {
      $("seed").value = seed;
      instrument.turns = [];
      instrument.begin(seed);
      this.shown = this.listening = null;
      this.seek(0);
    };
    $("new").onclick = () => piece(settings.seed + 1);
    $("seed").onchange = () => piece(Math.max(0, Math.floor(Number($("seed").value)) || 0));
    $("bpm").oninput = () => { settings.bpm = Number($("bpm").value); $("bpm-now").value = settings.bpm; this.hush(this.sounded && Math.ceil(this.position)); };
    $("temperature").oninput = () => {
      settings.temperature = Number($("temperature").value);
      $("temperature-now").value = settings.temperature.toFixed(2);
      this.anew();
    };
    $("bpm-now").value = settings.bpm;
    $("temperature-now").value = "1.00";
    for (const root of ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"])
      for (const kind of Object.keys(SCALES)) element("option", $("key"), {value: root + kind, textContent: root + kind});
    $("key").onchange = () => { settings.key = $("key").value; this.anew(); };
    $("chords").onchange = () => {
      const words = $("chords").value.split("|").map((word) => word.trim()).filter(Boolean);
      const wrong = words.find((word) => !classesOf(word, CHORDS));
      $("wrong").textContent = wrong ? `${wrong} is no chord: write C, Am, F#7, Bbmaj7, ...` : "";
      if (!wrong) { settings.chords = words; this.anew(); }
    };
    $("clear").onclick = () => {
      const first = Math.min(...instrument.melody.keys(), ...instrument.turns.map((turn) => turn.begin), instrument.steps.length);
      instrument.melody.clear();
      instrument.turns = [];
      this.anew(first);
    };
    for (const id of ["answer", "draw"])
      $(id).onclick = () => {
        const on = $(id).getAttribute("aria-pressed") !== "true";
        $(id).setAttribute("aria-pressed", String(on));
        if (id === "answer") {
          this.answering = on;
          this.listening = null;
          if (on && this.playing) this.listenFrom(this.position);
        }
        if (on) midiKeyboard(this);
      };
    $("midi").onclick = () => this.save("mid", "audio/midi", midiOf(this.heard(), settings.bpm, instrument.config.metre));
    $("wav").onclick = () => this.save("wav", "audio/wav", wavOf(this.heard(), settings.bpm));
    $("roll").onclick = (event) => {
      const [t, key] = this.roll.at(event), drawing = $("draw").getAttribute("aria-pressed") === "true";
      if (drawing && key >= 0 && key < 88) {
        this.give(t, key);
        this.speaker.note(key, 0, 0.5);
      } else this.seek(t);
    };
    $("roll").onkeydown = (event) => {
      const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!move) return;
      event.preventDefault();
      this.seek(Math.min(this.chosen + move * (event.shiftKey ? instrument.bar : 1), Math.max(instrument.steps.length - 1, 0)));
    };
  }

  heard() {  // pieces end with their bars: at least the first, as far as it was played
    const {settings, bar} = this.instrument, long = settings.bars * bar;
    const steps = Math.max(1, Math.ceil(this.position / long)) * long;
    this.instrument.upTo(steps);
    return this.instrument.steps.slice(0, steps);
  }

  save(ending, type, bytes) {
    const link = element("a", document.body, {href: URL.createObjectURL(new Blob([bytes], {type})),
                                              download: `minigen-seed${this.instrument.settings.seed}.${ending}`});
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

window.minigen = new Page(unpack(MODEL));
