// Play, pause, seek, choose; what a person plays, and its answer.
"use strict";

const $ = (id) => document.getElementById(id);
const AHEAD = 64, SLICE = 8;  // steps computed before they are due; milliseconds at a time
const KNOWN = 16;             // steps after a note that must be known before it is sounded: how long it is

class Page {
  constructor(model) {
    this.instrument = new Instrument(model);
    this.speaker = new Speaker();
    this.roll = new Roll($("roll"), this.instrument);
    this.inside = new Inside(this.instrument, () => this.roll.colours(), () => this.anew());
    this.playing = false;
    this.position = 0;      // in steps
    this.sounded = 0;       // steps whose notes are under way
    this.chosen = 0;        // the step that is shown
    this.answering = false;
    this.listening = null;  // {begin, notes: [key, step, steps]}: a person's turn, from step `begin` on
    this.answerEnds = null; // the step at which the next turn begins
    this.keysDown = new Map();  // key -> its step
    this.waits = 0;         // how often the playhead had to wait for the model
    $("about").textContent = model.about;
    this.controls();
    piano(this);
    setInterval(() => this.tick(), 20);
    window.addEventListener("resize", () => { this.shown = null; });
    const frame = () => { this.draw(); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
  }

  get seconds() { return 15 / this.instrument.settings.bpm; }  // of a step

  // From step t on the music is made again, for what was asked has changed; what sounds already goes on.
  anew(t = Math.floor(this.position) + (this.playing ? 2 : 0)) {
    this.instrument.changed(t);
    this.hush(t);
    this.shown = null;
  }

  hush(t) {  // notes from step t on are to be sounded again
    this.speaker.silence(t);
    this.sounded = Math.min(this.sounded, t);
  }

  tick() {
    const {instrument, before} = this, now = performance.now();
    this.before = now;
    if (this.playing) {
      const to = this.position + (now - before) / 1000 / this.seconds;
      const ready = this.listening ? Infinity : instrument.steps.length;
      if (to > ready) this.waits += 1;
      this.position = Math.max(this.position, Math.min(to, ready));
      if (this.answerEnds !== null && this.position >= this.answerEnds) this.listenFrom(this.answerEnds);
    }
    const {listening} = this;
    if (listening && this.position >= listening.begin) this.listen();
    else instrument.upTo(Math.min(Math.floor(this.position) + AHEAD, listening ? listening.begin : Infinity), SLICE);
    if (this.playing) {
      this.sound();
      this.chosen = Math.min(Math.floor(this.position), Math.max(instrument.steps.length - 1, 0));
    }
  }

  sound() {  // half a second ahead
    const {steps} = this.instrument, {listening} = this;
    const known = listening ? Math.min(steps.length, listening.begin) : steps.length - KNOWN;
    this.speaker.prepare(steps.slice(this.sounded, this.sounded + KNOWN));
    while (this.sounded < Math.min(this.position + 0.5 / this.seconds, known)) {
      const t = this.sounded++;
      if (t < this.position - 1) continue;  // the page was not looked at meanwhile
      for (const {key, end} of notesOf(steps.slice(t, t + AHEAD)).filter((note) => note.begin === 0))
        if (this.live !== `${t} ${key}`) this.speaker.note(key, (t - this.position) * this.seconds, end * this.seconds, t);
    }
  }

  play(on = !this.playing) {
    this.playing = on;
    this.before = performance.now();
    if (on) this.speaker.start();
    this.speaker.silence();
    this.sounded = Math.floor(this.position);
    if (on && this.answering && !this.listening) this.listenFrom(this.position);
    $("play").textContent = on ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", String(on));
    $("now").setAttribute("aria-live", on ? "off" : "polite");
    this.shown = null;
  }

  seek(t) {
    if (!this.listening) this.instrument.upTo(t);
    t = Math.min(Math.max(t, 0), this.instrument.steps.length);
    this.stopListening();
    this.speaker.silence();
    this.position = this.chosen = this.sounded = t;
    if (this.playing && this.answering) this.listenFrom(t);
    this.roll.follow(t);
  }

  // ---- it answers: bars that a person plays, then as many of its own

  get drawing() { return $("draw").getAttribute("aria-pressed") === "true"; }
  get phrase() { return this.instrument.bar > 1 ? this.instrument.bar : 16; }

  listenFrom(position) {
    this.stopListening();
    this.listening = {begin: Math.ceil(position / this.phrase) * this.phrase, notes: this.instrument.pending};
    this.roll.until = this.listening.begin;
  }

  stopListening() {
    this.listening = this.answerEnds = this.shown = null;
    this.roll.until = Infinity;
    this.instrument.pending = [];
  }

  listen() {
    const {instrument, listening, phrase} = this, t = Math.floor(this.position);
    if (t % phrase || t === listening.begin) return;
    if (!listening.notes.length && !this.keysDown.size) {
      listening.begin = t;  // a bar in which nothing was played is no part of the turn
      instrument.upTo(t);
      return;
    }
    if (this.keysDown.size || !listening.notes.every(([, begin, length]) => begin + length <= t - phrase / 2)) return;
    const {begin, notes} = listening;
    this.stopListening();
    instrument.listened(begin, t, notes);
    instrument.upTo(t + 1);
    this.sounded = t;
    this.answerEnds = 2 * t - begin;
  }

  down(key) {
    if (this.keysDown.has(key)) return;
    const {listening} = this, t = Math.round(this.position), mine = listening && t >= listening.begin - 1;
    this.keysDown.set(key, mine ? Math.max(t, listening.begin) : t);
    if (mine) listening.notes.push([key, this.keysDown.get(key), 1]);
    else if (this.drawing) { this.give(t, key); if (!this.playing) this.seek(t + Number($("length").value)); }
    this.speaker.start();
    this.speaker.note(key, 0, 1.2, -1);
  }

  up(key) {
    const begin = this.keysDown.get(key);
    this.keysDown.delete(key);
    const note = this.listening && this.listening.notes.findLast(([k, t]) => k === key && t === begin);
    if (note) note[2] = Math.max(1, Math.round(this.position) - begin);
  }

  give(t, key) {  // a note of the melody
    this.live = `${t} ${key}`;  // it sounds now
    this.instrument.toggleMelody(t, key, Number($("length").value));
    this.anew(t);
  }

  // ---- what is drawn

  draw() {
    const {instrument} = this, {canvas} = this.roll;
    if (this.playing) this.roll.follow(this.position);
    const drawn = [this.position, this.chosen, instrument.steps.length, instrument.pending.length, canvas.clientWidth, this.shown].join();
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.roll.draw(this.position, this.chosen);
    if (!instrument.steps[this.chosen] || this.shown === this.chosen) return;
    this.inside.show(this.chosen);
    this.shown = this.chosen;
    const turn = this.playing && this.listening && this.position >= this.listening.begin;
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
      this.shown = null;
      this.seek(0);
    };
    $("new").onclick = () => piece(settings.seed + 1);
    $("seed").onchange = () => piece(Math.max(0, Math.floor(Number($("seed").value)) || 0));
    $("bpm").oninput = () => {
      settings.bpm = Number($("bpm").value);
      $("bpm-now").value = settings.bpm;
      this.hush(Math.ceil(this.position));
    };
    $("temperature").oninput = () => {
      settings.temperature = Number($("temperature").value);
      $("temperature-now").value = settings.temperature.toFixed(2);
      this.anew();
    };
    [$("bpm-now").value, $("temperature-now").value] = [settings.bpm, "1.00"];
    for (const root of ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"])
      for (const kind of Object.keys(SCALES)) element("option", $("key"), {value: root + kind, textContent: root + kind});
    $("key").onchange = () => { settings.key = $("key").value; this.anew(); };
    $("chords").onchange = () => {
      const words = $("chords").value.split(/[|\s]+/).filter(Boolean);
      const wrong = words.find((word) => !classesOf(word, CHORDS));
      $("wrong").textContent = wrong ? `${wrong} is no chord: write C | Am | F#7 | Bbmaj7 ...` : "";
      if (!wrong) { settings.chords = words; this.anew(); }
    };
    $("clear").onclick = () => {
      const first = Math.min(...instrument.melody.keys(), ...instrument.turns.map((turn) => turn.begin), instrument.steps.length);
      instrument.melody.clear();
      instrument.turns = [];
      this.stopListening();
      this.anew(first);
      if (this.playing && this.answering) this.listenFrom(this.position);
    };
    modes(this);
    $("midi").onclick = () => save(this.name("mid"), "audio/midi", midiOf(this.pieces(), settings.bpm, instrument.config.metre));
    $("wav").onclick = () => save(this.name("wav"), "audio/wav", wavOf(this.pieces(), settings.bpm));
    $("roll").onclick = (event) => {
      const [t, key] = this.roll.at(event);
      if (!this.drawing || key < 0 || key > 87) { this.seek(t); return; }
      instrument.upTo(t + 1);
      this.give(t, key);
      this.speaker.start();
      this.speaker.note(key, 0, 0.5, -1);
    };
    $("roll").onkeydown = (event) => {
      const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!move) return;
      event.preventDefault();
      this.seek(this.chosen + move * (event.shiftKey ? instrument.bar : 1));
    };
  }

  pieces() {  // the steps of whole pieces, as far as was played: at least the first
    const {settings, bar} = this.instrument, long = settings.bars * bar, steps = Math.max(1, Math.ceil(this.position / long)) * long;
    this.instrument.upTo(steps);
    return this.instrument.steps.slice(0, steps);
  }

  name(ending) { return `minigen-seed${this.instrument.settings.seed}.${ending}`; }
}

window.minigen = new Page(unpack(MODEL));
