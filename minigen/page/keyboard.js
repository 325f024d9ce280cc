// The keys that a person plays: two octaves from C4, on the screen and on the computer's keyboard; a MIDI keyboard.
"use strict";

function piano(page) {
  const letters = "awsedftgyhujkolp;'", from = 39, keys = Array.from({length: 25}, (_, n) => from + n);
  const whites = keys.filter((key) => !isBlack(key));
  for (const key of keys) {
    const n = key - from, black = isBlack(key), left = whites.filter((white) => white < key).length;
    const button = element("button", $("piano"), {className: black ? "black" : "white", textContent: black ? "" : nameOf(key)});
    button.style.left = `${((left - (black ? 0.3 : 0)) * 100) / whites.length}%`;
    button.style.width = `${((black ? 0.6 : 1) * 100) / whites.length}%`;
    button.setAttribute("aria-label", nameOf(key) + (letters[n] ? `, letter ${letters[n]}` : ""));
    const release = () => { button.classList.remove("down"); page.up(key); };
    button.onpointerdown = () => { button.classList.add("down"); page.down(key); };
    button.onpointerup = button.onpointerleave = release;
    button.onkeydown = (event) => { if (event.key === "Enter" && !event.repeat) { page.down(key); } };
    button.onkeyup = (event) => { if (event.key === "Enter") release(); };
  }
  const typed = (event) => {
    const n = letters.indexOf(event.key), inField = /INPUT|SELECT/.test(event.target.tagName) && event.target.type !== "range";
    return !inField && !event.ctrlKey && !event.metaKey && n >= 0 ? from + n : null;
  };
  document.addEventListener("keydown", (event) => {
    const key = typed(event);
    if (key !== null && !event.repeat) page.down(key);
    if (event.key === " " && !/INPUT|SELECT|BUTTON/.test(event.target.tagName)) { event.preventDefault(); page.play(); }
  });
  document.addEventListener("keyup", (event) => { const key = typed(event); if (key !== null) page.up(key); });
}

// A MIDI keyboard, where the browser has Web MIDI and one is plugged in.
function midiKeyboard(page) {
  if (page.asked || !navigator.requestMIDIAccess) return;
  page.asked = true;
  const heard = ({data: [kind, note, velocity]}) => {
    const key = note - 21, strike = kind >> 4 === 9 && velocity > 0;
    if (key >= 0 && key < 88 && (strike || kind >> 4 === 8 || kind >> 4 === 9)) page[strike ? "down" : "up"](key);
  };
  navigator.requestMIDIAccess().then((access) => access.inputs.forEach((input) => { input.onmidimessage = heard; }), () => {});
}
