// The viewfinder: a result and its depth map that stay in place while pictures come and go, so that no click is lost.
//
// From the server, as props:
//   scene  {id, file, size: [w, h], photo, depth, disparity}: a photo was opened, or its depth was changed (then `file` is
//          the same); pictures as data URLs, the last one grey
//   shot   {wish, picture, focus: [far, near]}: the photo as wished for, and the disparities that are sharp in it
//   calm   anything new: what was asked for cannot be done
// To the server, as the value, which says all of what the visitor wants sharp:
//   {id, point: [x, y] or null, range: [far, near] or null}; pixels of the photo, disparities in [0, 1]
// and as the event "stroke": {kind, radius, points: [[x, y], ...]}, drawn with the depth brush
const finder = element.querySelector(".finder");
const panes = [...finder.querySelectorAll("figure")].map((figure) => ({
  stage: figure.querySelector(".stage"),
  img: figure.querySelector("img"),
  sharp: figure.querySelector(".sharp"),
  trace: figure.querySelector(".stroke"),
  marks: [...figure.querySelectorAll(".mark")],
}));
const [photo, depth] = panes;
const band = finder.querySelector(".band");
let mode = "point";
let scene = null;
let levels = null; // the disparity: {data, width, height}, 0 to 255, one byte a pixel
let focus = null; // [far, near], disparities that are sharp
let drag = null; // points: the two ends of a range being dragged out, or a stroke being drawn

function want(change) {
  props.value = { id: scene.id, point: null, range: null, ...change };
  showWish();
}

function placeMarks(points) {
  for (const { marks } of panes)
    marks.forEach((mark, i) => {
      mark.hidden = !points[i];
      if (!points[i]) return;
      mark.style.left = `${((points[i][0] + 0.5) / scene.size[0]) * 100}%`;
      mark.style.top = `${((points[i][1] + 0.5) / scene.size[1]) * 100}%`;
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

// Tint what is in focus, and show where it lies in the profile of depths.
function showFocus() {
  const shown = focus && levels;
  band.setAttribute("width", shown ? Math.max((focus[1] - focus[0]) * 128, 1) : 0);
  band.setAttribute("x", shown ? Math.min(focus[0] * 128, 127) : 0);
  const on = shown && finder.querySelector("[data-act=sharp]").getAttribute("aria-pressed") === "true";
  for (const { sharp } of panes) sharp.hidden = !on;
  if (!on) return;
  const { data, width, height } = levels;
  const tint = new ImageData(width, height);
  const [low, high] = [focus[0] * 255 - 2.5, focus[1] * 255 + 2.5];
  const colour = getComputedStyle(finder).getPropertyValue("--tint").split(",").map(Number);
  for (let i = 0; i < data.length; i++) if (data[i] >= low && data[i] <= high) tint.data.set(colour, 4 * i);
  for (const { sharp } of panes) {
    [sharp.width, sharp.height] = [width, height];
    sharp.getContext("2d").putImageData(tint, 0, 0);
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
  finder.closest(".gradio-container").toggleAttribute("data-photo", Boolean(scene));
  if (!scene) return;
  const opened = scene;
  finder.dataset.scene = scene.id;
  finder.style.setProperty("--ratio", scene.size[0] / scene.size[1]);
  depth.img.src = scene.depth;
  if (!same) {
    photo.img.src = scene.photo;
    if (photo.stage.getBoundingClientRect().bottom > 0.8 * window.innerHeight) finder.scrollIntoView({ behavior: "smooth" });
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
  for (const { trace } of panes) trace.getContext("2d").clearRect(0, 0, trace.width, trace.height);
  if (!drag) focus = props.shot.focus;
  if (JSON.stringify(props.shot.wish) === JSON.stringify(props.value)) finder.removeAttribute("data-busy");
  showFocus();
}

function showWish() {
  if (!scene || props.value?.id !== scene.id) return;
  finder.setAttribute("data-busy", "");
  placeMarks(props.value.point ? [props.value.point] : []);
}

function pointAt(event, stage) {
  const box = stage.getBoundingClientRect();
  return [0, 1].map((axis) => {
    const [at, from, length] = axis ? [event.clientY, box.top, box.height] : [event.clientX, box.left, box.width];
    return Math.min(Math.max(Math.floor(((at - from) / length) * scene.size[axis]), 0), scene.size[axis] - 1);
  });
}

for (const { stage } of panes) {
  stage.addEventListener("click", (event) => {
    if (scene && mode === "point") want({ point: pointAt(event, stage) });
  });
  stage.addEventListener("pointerdown", (event) => {
    if (!levels || mode === "point") return;
    event.preventDefault(); // neither scrolls the page nor drags the picture
    stage.setPointerCapture(event.pointerId);
    const point = pointAt(event, stage);
    drag = mode === "range" ? [point, point] : [point];
    follow();
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (mode === "range") drag[1] = pointAt(event, stage);
    else drag.push(pointAt(event, stage));
    follow();
  });
  for (const end of ["pointerup", "pointercancel"])
    stage.addEventListener(end, () => {
      if (!drag) return;
      const points = drag;
      drag = null;
      if (mode === "brush") {
        trigger("stroke", { ...brush(), points });
        finder.setAttribute("data-busy", "");
      } else {
        want({ range: between(points) });
        placeMarks(points);
      }
    });
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

function choose(button, on) {
  button.setAttribute("aria-pressed", on);
}

finder.querySelector(".tools").addEventListener("click", ({ target }) => {
  const { mode: chosen, act } = target.dataset;
  if (chosen) {
    finder.dataset.mode = mode = chosen;
    for (const button of finder.querySelectorAll("button[data-mode]")) choose(button, button === target);
  }
  if (act === "subject" && scene) want({});
  if (act === "sharp") {
    choose(target, target.getAttribute("aria-pressed") !== "true");
    showFocus();
  }
});

watch("scene", openScene);
watch("shot", showShot);
watch("value", showWish);
watch("calm", () => finder.removeAttribute("data-busy"));
