// Random numbers as a pure function of seed, purpose, block and place: minigen/draws.py, and run/sample.py.
"use strict";

const crc32 = (text) => {
  let crc = 0xffffffff;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
};

const LOW64 = (1n << 64n) - 1n;

// Philox 4x64 with 10 rounds (Salmon et al. 2011): four words of 64 bits and a key of two -> four words.
function philox(counter, key) {
  let [a, b, c, d] = counter, [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const first = 0xd2e7470ee14c6c93n * a, second = 0xca5a826395121157n * c;
    [a, b, c, d] = [(second >> 64n) ^ b ^ k0, second & LOW64, (first >> 64n) ^ d ^ k1, first & LOW64];
    k0 = (k0 + 0x9e3779b97f4a7c15n) & LOW64;
    k1 = (k1 + 0xbb67ae8584caa73bn) & LOW64;
  }
  return [a, b, c, d];
}

// n uniforms in [0, 1) of 24 bits, of one row: what NumPy's Generator(Philox(key, counter)).random(n, float32) gives.
function uniforms(seed, purpose, step, row, n) {
  const key = [BigInt(seed), BigInt(crc32(purpose))], u = new Float64Array(n);
  for (let i = 0, count = 1n; i < n; count++)  // the counter goes up before it is used
    for (const word of philox([count, 0n, BigInt(row), BigInt(step)], key))
      for (const half of [word & 0xffffffffn, word >> 32n])
        if (i < n) u[i++] = (Number(half) >>> 8) / 16777216;
  return u;
}

// The uniforms of step t of a piece, a function of the seed and t

const BLOCK = 256;
function stepsOf(config, seed) {
  const n = config.voices + (config.keys === 12 ? 88 : 0), blocks = new Map();
  const block = (purpose, number, width) => {
    const name = `${purpose} ${number}`;
    if (!blocks.has(name)) blocks.set(name, uniforms(seed, purpose, number, 0, BLOCK * width));
    return blocks.get(name);
  };
  return (t) => {
    const number = Math.floor(t / BLOCK), at = t % BLOCK;
    const row = block("generate", number, n).slice(at * n, (at + 1) * n);
    return {u: row.slice(0, config.voices), decoderU: row.slice(config.voices),
            sustainU: block("sustain", number, 88).slice(at * 88, (at + 1) * 88)};
  };
}
