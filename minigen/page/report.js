// Pieces of a training report: drawn, and played one at a time. A note is [key, first step, last step and one].

const speaker = new Speaker();
let stop = null;

for (const {step, steps, bpm, notes} of PIECES) {
  const row = document.getElementById("pieces").appendChild(document.createElement("div"));
  const button = row.appendChild(document.createElement("button")), canvas = row.appendChild(document.createElement("canvas"));
  row.className = "piece";
  button.textContent = `Play: after step ${step}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${notes.length} notes in ${steps} steps`);
  const keys = notes.map(([key]) => key), low = Math.min(...keys, 39) - 2, high = Math.max(...keys, 60) + 2;
  const draw = (now) => {
    const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight, pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement), each = height / (high - low + 1);
    canvas.width = width * scale;
    canvas.height = height * scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.fillStyle = style.getPropertyValue("--its");
    for (const [key, begin, end] of notes)
      pen.fillRect((begin / steps) * width, (high - key) * each, Math.max(((end - begin) / steps) * width - 1, 1), Math.max(each, 1.5));
    pen.fillStyle = style.getPropertyValue("--now");
    if (now !== null) pen.fillRect((now / steps) * width, 0, 2, height);
  };
  button.onclick = () => {
    const mine = stop && stop.button === button;
    if (stop) stop();
    if (mine) return;
    speaker.start();
    const began = performance.now(), seconds = 15 / bpm;
    let next = 0;
    const timer = setInterval(() => {
      const now = (performance.now() - began) / 1000 / seconds;
      for (; next < notes.length && notes[next][1] < now + 4; next++) {
        const [key, begin, end] = notes[next];
        speaker.note(key, (begin - now) * seconds, (end - begin) * seconds);
      }
      draw(now);
      if (now > steps + 1) stop();
    }, 40);
    stop = () => {
      clearInterval(timer);
      speaker.silence();
      button.textContent = `Play: after step ${step}`;
      draw(null);
      stop = null;
    };
    stop.button = button;
    button.textContent = `Stop: after step ${step}`;
  };
  draw(null);
  window.addEventListener("resize", () => draw(null));
}
