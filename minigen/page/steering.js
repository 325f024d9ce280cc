// What may sound, by a key, by a chord, or under a melody: minigen/music/steering.py.
"use strict";

const ROOTS = {A: 0, B: 2, C: 3, D: 5, E: 7, F: 8, G: 10};  // class 0 is A
const SCALES = {"": [0, 2, 4, 5, 7, 9, 11], m: [0, 2, 3, 5, 7, 8, 10, 11]};
const CHORDS = {"": [0, 4, 7], m: [0, 3, 7], 7: [0, 4, 7, 10], maj7: [0, 4, 7, 11], m7: [0, 3, 7, 10], 6: [0, 4, 7, 9],
                m6: [0, 3, 7, 9], dim: [0, 3, 6], dim7: [0, 3, 6, 9], m7b5: [0, 3, 6, 10], aug: [0, 4, 8],
                sus2: [0, 2, 7], sus4: [0, 5, 7]};

// The classes of a key or chord such as "F#m", or null where it is none.
function classesOf(name, kinds) {
  const [, root, sign, kind] = /^([A-G]?)([#b]?)(.*)$/s.exec(name.trim());
  if (!(root in ROOTS) || !Object.hasOwn(kinds, kind)) return null;
  const shift = ROOTS[root] + {"#": 1, b: -1, "": 0}[sign] + 12;
  return Float64Array.from({length: 12}, (_, c) => (kinds[kind].some((note) => (note + shift) % 12 === c) ? 1 : 0));
}

// What a step is given beside its uniforms: classes (12) that may sound, or null; the melody's keys that strike now; the
// key of the melody that sounds on from before, or 88.
function steered(config, classes, melody, ceiling) {
  const free = classes || new Float64Array(12).fill(1), strikes = melody.some(Boolean), given = {};
  if (classes || (strikes && !config.in_order)) {
    const open = Array.from({length: config.keys + 1}, (_, k) => k === config.keys || free[k % 12] > 0);
    given.allowed = Array.from({length: config.voices}, () => open);
  }
  if (strikes) given.inject = melody;
  if (config.in_order && ceiling < 88) given.ceiling = ceiling;
  if (strikes && !config.in_order)
    [...pitchClasses(melody).keys()].filter((c) => pitchClasses(melody)[c]).slice(0, config.voices).forEach((c, v) => {
      given.allowed[v] = given.allowed[v].map((_, k) => k === c);
    });
  return given;
}
