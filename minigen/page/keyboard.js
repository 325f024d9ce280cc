// The keys that a person plays: two octaves from C4 on the screen, 18 of them on the computer's keyboard; MIDI.
"use strict";

const CODES = ["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ", "KeyK",
               "KeyO", "KeyL", "KeyP", "Semicolon", "Quote"];  // places on the keyboard, whatever letters they have

const letterOf = (code) => ({Semicolon: ";", Quote: "'"})[code] || code.slice(-1);

function piano(page) {
  const from = 39, keys = Array.from({length: 25}, (_, n) => from + n), whites = keys.filter((key) => !isBlack(key));
  const releases = new Map();
  for (const key of keys) {
    const n = key - from, black = isBlack(key), left = whites.filter((white) => white < key).length;
    const button = element("button", $("piano"), {className: black ? "black" : "white", textContent: black ? "" : nameOf(key)});
    button.style.left = `${((left - (black ? 0.3 : 0)) * 100) / whites.length}%`;
    button.style.width = `${((black ? 0.6 : 1) * 100) / whites.length}%`;
    if (CODES[n]) button.dataset.letter = letterOf(CODES[n]);
    button.setAttribute("aria-label", nameOf(key) + (CODES[n] ? `, ${CODES[n].replace("Key", "letter ")}` : ""));
    const release = () => { button.classList.remove("down"); page.up(key); };
    releases.set(key, release);
    button.onpointerdown = () => { button.classList.add("down"); page.down(key); };
    button.onpointerup = button.onpointerleave = release;
    button.onclick = (event) => {  // of the space bar, Enter or a screen reader, and not of a pointer
      if (event.detail === 0) { page.down(key); setTimeout(release, 300); }
    };
  }
  const typed = (event) => {
    const n = CODES.indexOf(event.code), field = event.target.tagName === "INPUT" && event.target.type !== "range";
    return n < 0 || field || event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey ? null : from + n;
  };
  document.addEventListener("keydown", (event) => {
    const key = typed(event);
    if (key !== null && !event.repeat) page.down(key);
    if (event.key === " " && !/INPUT|SELECT|BUTTON/.test(event.target.tagName)) { event.preventDefault(); page.play(); }
  });
  document.addEventListener("keyup", (event) => { const n = CODES.indexOf(event.code); if (n >= 0) page.up(from + n); });
  window.addEventListener("blur", () => { for (const key of [...page.keysDown.keys()]) (releases.get(key) || (() => page.up(key)))(); });
}

// The two ways to play together, of which one at most is on.
function modes(page) {
  const buttons = [$("answer"), $("draw")], isOn = (button) => button.getAttribute("aria-pressed") === "true";
  const press = (button, other) => {
    const on = !isOn(button), answers = button.id === "answer";
    button.setAttribute("aria-pressed", String(on));
    if (on && isOn(other)) press(other, button);
    if (on) midiKeyboard(page);
    if (on && !answers) $("now").textContent = "Click notes into the roll, or play them on the keys.";
    if (!answers) return;
    page.answering = on;
    page.stopListening();
    page.sounded = Math.max(page.sounded, Math.floor(page.position));
    if (on && page.playing) page.listenFrom(page.position);
    if (on && !page.playing) $("now").textContent = "Press Play: from the next bar it is your turn. Then it answers for as many bars.";
  };
  buttons.forEach((button, n) => { button.onclick = () => press(button, buttons[1 - n]); });
}

// A MIDI keyboard, where the browser has Web MIDI and one is plugged in.
function midiKeyboard(page) {
  if (page.midiAsked || !navigator.requestMIDIAccess) return;
  page.midiAsked = true;
  const onMessage = ({data: [kind, note, velocity]}) => {
    const key = note - 21, strike = kind >> 4 === 9 && velocity > 0;
    if (key >= 0 && key < 88 && (kind >> 4 === 8 || kind >> 4 === 9)) page[strike ? "down" : "up"](key);
  };
  navigator.requestMIDIAccess().then((access) => {
    access.onstatechange = () => access.inputs.forEach((input) => { input.onmidimessage = onMessage; });
    access.onstatechange();
  }, () => {});
}
