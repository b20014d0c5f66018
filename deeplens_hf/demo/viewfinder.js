// The viewfinder: a result and its depth map that stay in place while pictures come and go, so that no click is lost.
//
// From the server, as props:
//   scene  {id, file, size: [w, h], strokes, photo, depth, disparity}: a photo was opened, or its depth was changed (then
//          `file` is the same); strokes of the brush are counted; pictures as data URLs, the last one grey
//   shot   {wish, picture, focus: [far, near], id}: the photo as wished for, and the disparities that are sharp in it
//   calm   anything new: what was asked for cannot be done
// To the server, as the value, which says all of what the visitor wants sharp:
//   {id, file, point: [x, y] or null, range: [far, near] or null}; the scene's, pixels, disparities in [0, 1]
// and as the events "stroke": {kind, radius, points: [[x, y], ...]}, drawn with the depth brush, and "undo" of one
// To the page, the event "brush": another brush was chosen
const finder = element.querySelector(".finder");
const panes = [...finder.querySelectorAll("figure")].map((figure) => ({
  stage: figure.querySelector(".stage"),
  img: figure.querySelector("img"),
  sharp: figure.querySelector(".sharp"),
  trace: figure.querySelector(".stroke"),
  tip: figure.querySelector(".tip"),
  marks: [...figure.querySelectorAll(".mark")],
}));
const [photo, depth] = panes;
const band = finder.querySelector(".band");
const hint = finder.querySelector(".hint");
const told = finder.querySelector(".told"); // to who does not see the pictures
const act = (name) => finder.querySelector(`[data-act=${name}]`);
// whether the upload box is the camera's, which shows no video any more once it has taken a picture; the page asks too
window.cameraOn = () =>
  document.querySelector('#upload video, #upload [aria-label="Capture from camera"].selected');
window.inView = () => ({ size: scene?.size, focus, wish: props.value }); // likewise
window.ride = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
let mode = "point";
let scene = null;
let levels = null; // the disparity: {data, width, height}, 0 to 255, one byte a pixel
let focus = null; // [far, near], disparities that are sharp
let drag = null; // points: the two ends of a range being dragged out, or a stroke being drawn

function want(change) {
  props.value = { id: scene.id, file: scene.file, point: null, range: null, ...change };
  showWish();
}

function place([x, y]) {
  return { left: `${((x + 0.5) / scene.size[0]) * 100}%`, top: `${((y + 0.5) / scene.size[1]) * 100}%` };
}

function placeMarks(points) {
  for (const { marks } of panes)
    marks.forEach((mark, i) => {
      mark.hidden = !points[i];
      if (points[i]) Object.assign(mark.style, place(points[i]));
    });
}

function disparityAt([x, y]) {
  const column = Math.floor((x / scene.size[0]) * levels.width);
  const row = Math.floor((y / scene.size[1]) * levels.height);
  return levels.data[row * levels.width + column] / 255;
}

function between([from, to]) {
  const ends = [disparityAt(from), disparityAt(to)];
  return [Math.min(...ends), Math.max(...ends)];
}

// Show where the focus lies in the profile of depths and, if asked for, in the panes.
function showFocus() {
  const shown = focus && levels;
  band.setAttribute("width", shown ? Math.max((focus[1] - focus[0]) * 128, 1) : 0);
  band.setAttribute("x", shown ? Math.min(focus[0] * 128, 127) : 0);
  const on = shown && act("sharp").getAttribute("aria-pressed") === "true";
  finder.toggleAttribute("data-sharp", Boolean(on)); // greys and dims the pictures
  if (on) showSharp();
}

// Over the dimmed pictures, what is in focus in its own colours, tinted and rimmed.
function showSharp() {
  const { data, width, height } = levels;
  const [low, high] = [focus[0] * 255 - 2.5, focus[1] * 255 + 2.5];
  const inside = (i) => data[i] >= low && data[i] <= high;
  const rim = Math.max(Math.round((1.5 * width) / photo.stage.clientWidth), 1);
  const style = getComputedStyle(finder);
  const colours = ["--tint", "--rim"].map((name) => style.getPropertyValue(name).split(",").map(Number));
  const [mask, tint] = [new ImageData(width, height), new ImageData(width, height)];
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      if (!inside(i)) continue;
      const across = (x >= rim && !inside(i - rim)) || (x < width - rim && !inside(i + rim));
      const edge = across || (y >= rim && !inside(i - rim * width)) || (y < height - rim && !inside(i + rim * width));
      mask.data[4 * i + 3] = 255;
      tint.data.set(colours[Number(edge)], 4 * i);
    }
  const over = new OffscreenCanvas(width, height);
  over.getContext("2d").putImageData(tint, 0, 0);
  for (const { img, sharp } of panes) {
    if (!img.complete) continue; // its load event brings us here again
    [sharp.width, sharp.height] = [width, height];
    const context = sharp.getContext("2d");
    context.putImageData(mask, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.drawImage(img, 0, 0, width, height);
    context.globalCompositeOperation = "source-over";
    context.drawImage(over, 0, 0);
  }
}

function showProfile() {
  const counts = new Float32Array(128);
  for (const level of levels.data) counts[level >> 1] += 1;
  const most = Math.sqrt(Math.max(...counts)); // square roots: a wide sky would hide the rest
  const heights = Array.from(counts, (count, i) => `L${i} ${32 - (30 * Math.sqrt(count)) / most}`);
  finder.querySelector(".profile path").setAttribute("d", `M0 32${heights.join("")}L128 32Z`);
}

async function readLevels(address) {
  const img = new Image();
  img.src = address;
  await img.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [img.width, img.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(img, 0, 0);
  const data = context.getImageData(0, 0, img.width, img.height).data.filter((_, i) => i % 4 === 0);
  return { data, width: img.width, height: img.height };
}

async function openScene() {
  const same = scene && props.scene && scene.file === props.scene.file;
  scene = props.scene;
  drag = null;
  if (!same) levels = focus = null;
  finder.toggleAttribute("data-empty", !scene);
  const page = finder.closest(".gradio-container");
  page.toggleAttribute("data-photo", Boolean(scene));
  if (!scene) return;
  const opened = scene;
  finder.dataset.scene = scene.id;
  const ratio = scene.size[0] / scene.size[1];
  page.style.setProperty("--ratio", ratio);
  finder.toggleAttribute("data-wide", ratio > 2.2); // beside one another the panes would be thin strips
  depth.img.src = scene.depth;
  if (!scene.strokes && document.activeElement === act("undo")) finder.querySelector("[data-brush=kind]").focus();
  act("undo").disabled = !scene.strokes;
  if (!same) {
    told.textContent = `Photo opened, ${scene.size.join(" by ")} pixels`;
    setMode("point");
    page.toggleAttribute("data-cut", true); // the film under way is the photo's before
    photo.stage.style.backgroundImage = `url(${scene.photo})`; // decoded already when it is compared with the result
    photo.img.src = scene.photo;
    const { top } = finder.querySelector(".panes").getBoundingClientRect(); // the photo may be elsewhere: it follows
    const away = top < 0 || top + photo.stage.offsetHeight > 0.8 * window.innerHeight;
    // the camera's box is about to shrink: the page scrolls after that
    if (away && !window.cameraOn()) finder.scrollIntoView({ behavior: ride() });
  }
  want(same ? { ...props.value, id: scene.id } : {});
  const read = await readLevels(scene.disparity);
  if (opened !== scene) return; // another photo came in the meantime
  levels = read;
  for (const { trace } of panes) [trace.width, trace.height] = [levels.width, levels.height];
  showProfile();
  showFocus();
}

function showShot() {
  if (!scene || props.shot?.wish.id !== scene.id) return;
  photo.img.src = props.shot.picture;
  wipe();
  if (!drag) focus = props.shot.focus;
  if (JSON.stringify(props.shot.wish) === JSON.stringify(props.value)) {
    finder.removeAttribute("data-busy");
    told.textContent = "Picture ready";
  }
  showFocus();
}

function showWish() {
  if (!scene || props.value?.id !== scene.id) return;
  // gradio tells the server nothing of a value that is what it was: no picture would come and end the waiting
  if (JSON.stringify(props.value) !== JSON.stringify(props.shot?.wish)) {
    finder.setAttribute("data-busy", "");
    if (told.textContent === "Picture ready") told.textContent = ""; // so that the next one is told again
  }
  placeMarks(props.value.point ? [props.value.point] : []);
  showChoices();
}

function pointAt(event, stage) {
  const box = stage.getBoundingClientRect();
  return [0, 1].map((axis) => {
    const [at, from, length] = axis ? [event.clientY, box.top, box.height] : [event.clientX, box.left, box.width];
    return Math.min(Math.max(Math.floor(((at - from) / length) * scene.size[axis]), 0), scene.size[axis] - 1);
  });
}

for (const { stage, img } of panes) {
  img.addEventListener("load", showFocus);
  stage.addEventListener("click", ({ clientX, clientY }) => {
    const middle = { clientX: clientX + 0.5, clientY: clientY + 0.5 }; // a click comes in whole pixels, rounded down
    if (scene && mode === "point") want({ point: pointAt(middle, stage) });
  });
  stage.addEventListener("pointerdown", (event) => {
    if (!levels || mode === "point" || event.button || !event.isPrimary) return;
    event.preventDefault(); // neither scrolls the page nor drags the picture
    stage.setPointerCapture(event.pointerId);
    const point = pointAt(event, stage);
    drag = mode === "range" ? [point, point] : [point];
    follow();
  });
  stage.addEventListener("pointerleave", () => panes.forEach(({ tip }) => (tip.hidden = true)));
  stage.addEventListener("pointermove", (event) => {
    if (mode === "brush" && event.pointerType === "mouse") placeTip(pointAt(event, stage));
    if (!drag || !event.isPrimary) return; // a second finger
    if (mode === "range") drag[1] = pointAt(event, stage);
    else drag.push(pointAt(event, stage));
    follow();
  });
  stage.addEventListener("pointerup", (event) => {
    if (!drag || !event.isPrimary) return;
    const points = drag;
    drag = null;
    if (mode === "brush") {
      trigger("stroke", { ...brush(), points });
      act("undo").disabled = false; // it waits for the stroke, as the stroke does for the one before
      finder.setAttribute("data-busy", "");
    } else {
      want({ range: between(points) });
      placeMarks(points);
    }
  });
  stage.addEventListener("pointercancel", (event) => {
    if (!drag || !event.isPrimary) return;
    drag = null; // two fingers zoom: nothing was meant to be drawn
    focus = props.shot?.wish.id === scene.id ? props.shot.focus : null;
    wipe();
    placeMarks(props.value?.point ? [props.value.point] : []);
    showFocus();
  });
}

// On a phone the photo follows to the controls that change it: `PANEL_SHOWN` says which are in sight.
new IntersectionObserver(
  (seen) => finder.toggleAttribute("data-passed", !seen.at(-1).isIntersecting),
  { root: document, rootMargin: "-35% 0px 100000px" }, // in a Space's frame as well; what is below is not passed
).observe(finder.querySelector(".panes"));

function wipe() {
  for (const { trace } of panes) trace.getContext("2d").clearRect(0, 0, trace.width, trace.height);
}

// A range or a stroke, while the pointer is down.
function follow() {
  if (mode === "range") {
    focus = between(drag);
    placeMarks(drag);
    showFocus();
    return;
  }
  const scale = levels.width / scene.size[0];
  for (const { trace } of panes) {
    const context = trace.getContext("2d");
    context.clearRect(0, 0, trace.width, trace.height);
    Object.assign(context, { lineCap: "round", lineJoin: "round", strokeStyle: "rgba(255, 255, 255, 0.55)" });
    context.lineWidth = 2 * brush().radius * Math.max(levels.width, levels.height);
    context.beginPath();
    for (const [x, y] of [drag[0], ...drag]) context.lineTo((x + 0.5) * scale, (y + 0.5) * scale);
    context.stroke();
  }
}

function brush() {
  const [kind, radius] = ["kind", "radius"].map((name) => finder.querySelector(`[data-brush=${name}]`).value);
  return { kind, radius: Number(radius) };
}

for (const field of finder.querySelectorAll("[data-brush]")) field.addEventListener("input", () => trigger("brush"));

// The brush's outline, on both panes.
function placeTip(point) {
  const share = (2 * brush().radius * Math.max(...scene.size)) / scene.size[0];
  for (const { tip } of panes) {
    tip.hidden = false;
    Object.assign(tip.style, { ...place(point), width: `${share * 100}%` });
  }
}

function choose(button, on) {
  button.setAttribute("aria-pressed", on);
}

// "Point" is lit once there is one: until then the subject is what is sharp.
function showChoices() {
  const subject = !props.value?.point && !props.value?.range;
  choose(act("subject"), subject);
  for (const button of finder.querySelectorAll("button[data-mode]"))
    choose(button, button.dataset.mode === mode && !(mode === "point" && subject));
}

function setMode(chosen) {
  finder.dataset.mode = mode = chosen;
  hint.textContent = finder.querySelector(`button[data-mode=${mode}]`).dataset.hint;
  showChoices();
}

finder.querySelector(".tools").addEventListener("click", ({ target }) => {
  const { mode: chosen, act: action } = target.dataset;
  if (chosen) {
    setMode(chosen);
    if (!act("sharp").offsetParent) { // on a phone the brush's tools take its place
      choose(act("sharp"), false);
      showFocus();
    }
    hint.animate({ opacity: [0, 1] }, 500); // an answer even where the mode was this one
  }
  if (action === "subject" && scene) want({});
  if (action === "undo") {
    trigger("undo");
    finder.setAttribute("data-busy", "");
  }
  if (action === "sharp") {
    choose(target, target.getAttribute("aria-pressed") !== "true");
    showFocus();
  }
});

// The photo as it was, while the button is held down.
const hold = act("hold");
const compare = (on) => finder.toggleAttribute("data-original", on);
hold.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  hold.setPointerCapture(event.pointerId); // it may be let go anywhere
  compare(true);
});
hold.addEventListener("keydown", ({ key }) => [" ", "Enter"].includes(key) && compare(true));
for (const end of ["lostpointercapture", "keyup", "blur"]) hold.addEventListener(end, () => compare(false));
hold.addEventListener("contextmenu", (event) => event.preventDefault()); // comes of a long touch

watch("scene", openScene);
watch("shot", showShot);
watch("value", showWish);
watch("calm", () => finder.removeAttribute("data-busy"));
