// One step of playing: minigen/ladder/rung.py.
"use strict";

function unpack(model) {  // base64 of float32, little-endian
  for (const layer of Object.values(model.layers))
    for (const array of Object.values(layer)) {
      const bytes = Uint8Array.from(atob(array.data), (letter) => letter.charCodeAt(0));
      array.data = new Float32Array(bytes.buffer);
    }
  return model;
}

function initialState(params, config, end = null) {
  const past = Array.from({length: Math.max(1, ...config.lags)}, () => new Float64Array(config.keys));
  const state = {past, time: 0, end, x: new Float64Array(88), sounding: new Float64Array(88)};
  for (const name of Object.keys(params).filter((name) => params[name].Wh)) {
    const H = params[name].Wh.shape[0];
    state[name] = [new Float64Array(H), new Float64Array(H)];
  }
  return state;
}

// Read the step just played, state.x, and play the next one -> {state, keys, sounding, trace}. `given`: u, decoderU and
// sustainU, uniforms; perhaps notes, allowed, inject, ceiling, keys (minigen/draws.py); muted and off, what is taken out.
function step(params, config, state, given, temperature = 1) {
  given = {muted: new Set(), off: new Set(), ...given};
  const music = (keys) => (config.keys === 12 ? pitchClasses(keys) : keys);
  const past = [...state.past.slice(1), music(state.x)], t = state.time;
  const clock = timeBits(t - (config.time_of === "input" ? 1 : 0), config.time_bits, config.bar,
                         config.time_order === "high first");
  const bits = join(clock, config.end_bits ? endBits(t, state.end, config.end_bits) : new Float64Array(0));
  const {features, w, next} = history(params, config, past, bits, state, given.off);
  const head = config.in_order ? ordered(params, config, features, given, temperature)
                               : voices(params, config, features, state, given, temperature);
  const P = config.in_order ? chances(head.p, head.notes, config.keys) : union(head.p, config.keys);
  const trace = {"reader.w": w, "voices.p": head.p, "voices.notes": head.notes, "cells.P": P, "voices.u": given.u};
  let keys = head.played, decoded = null;
  const usual = timeBits(t, config.time_bits, config.bar, false);
  if (config.keys === 12) {
    const classes = given.keys ? pitchClasses(given.keys) : head.played;
    decoded = octaves(params, state.x, classes, usual, state, given, temperature);
    keys = decoded.keys;
    trace["decoder.p"] = decoded.P;
  }
  if (given.keys) keys = Float64Array.from(given.keys);
  const held = params.sustain && sustain(params, keys, state.sounding, usual, state, given.sustainU);
  const sounding = held ? held.on : keys.some(Boolean) ? keys : state.sounding;  // without it notes ring
  if (held) trace["sustain.p"] = held.p;
  const newState = {...state, ...next, ...head.next, ...(decoded ? decoded.next : {}), ...(held ? held.next : {})};
  return {state: {...newState, past, time: t + 1, x: keys, sounding}, keys, sounding, trace};
}
