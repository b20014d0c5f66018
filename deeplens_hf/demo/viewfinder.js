// The viewfinder: a result and its depth map that stay in place while pictures come and go, so that no click is lost.
//
// From the server, as props:
//   scene  {id, size: [w, h], photo, depth, disparity}: a photo was opened; pictures as data URLs, the last one grey
//   shot   {wish, picture, focus: [far, near]}: the photo as wished for, and the disparities that are sharp in it
// To the server, as the value, which says all of what the visitor wants sharp:
//   {id, point: [x, y] or null, range: [far, near] or null}; pixels of the photo, disparities in [0, 1]
const finder = element.querySelector(".finder");
const panes = [...finder.querySelectorAll("figure")].map((figure) => ({
  stage: figure.querySelector(".stage"),
  img: figure.querySelector("img"),
  sharp: figure.querySelector("canvas"),
  marks: [...figure.querySelectorAll(".mark")],
}));
const [photo, depth] = panes;
const band = finder.querySelector(".band");
let mode = "point";
let scene = null;
let levels = null; // the disparity: {data, width, height}, 0 to 255, one byte a pixel
let focus = null; // [far, near], disparities that are sharp
let drag = null; // [from, to], points of a range being dragged out

function want(change) {
  props.value = { id: scene.id, point: null, range: null, ...change };
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
  scene = props.scene;
  levels = focus = drag = null;
  finder.toggleAttribute("data-empty", !scene);
  placeMarks([]);
  if (!scene) return;
  finder.dataset.scene = scene.id;
  finder.style.setProperty("--ratio", scene.size[0] / scene.size[1]);
  photo.img.src = scene.photo;
  depth.img.src = scene.depth;
  const opened = scene;
  const read = await readLevels(scene.disparity);
  if (opened !== scene) return; // another photo came in the meantime
  levels = read;
  showProfile();
  showFocus();
}

function showShot() {
  if (!scene || props.shot?.wish.id !== scene.id) return;
  photo.img.src = props.shot.picture;
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
    if (!scene || mode !== "point") return;
    const point = pointAt(event, stage);
    placeMarks([point]);
    want({ point });
    showWish();
  });
  stage.addEventListener("pointerdown", (event) => {
    if (!levels || mode !== "range") return;
    event.preventDefault(); // neither scrolls the page nor drags the picture
    stage.setPointerCapture(event.pointerId);
    const point = pointAt(event, stage);
    drag = [point, point];
    placeMarks(drag);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag[1] = pointAt(event, stage);
    focus = between(drag);
    placeMarks(drag);
    showFocus();
  });
  for (const end of ["pointerup", "pointercancel"])
    stage.addEventListener(end, () => {
      if (!drag) return;
      const ends = drag;
      drag = null;
      want({ range: between(ends) });
      showWish();
      placeMarks(ends);
    });
}

finder.querySelector(".tools").addEventListener("click", ({ target }) => {
  const { mode: chosen, act } = target.dataset;
  if (chosen) {
    mode = chosen;
    finder.dataset.mode = mode;
    for (const button of finder.querySelectorAll("[data-mode]"))
      if (button.tagName === "BUTTON") button.setAttribute("aria-pressed", button.dataset.mode === mode);
  }
  if (act === "subject" && scene) {
    want({});
    showWish();
  }
  if (act === "sharp") {
    target.setAttribute("aria-pressed", target.getAttribute("aria-pressed") !== "true");
    showFocus();
  }
});

watch("scene", openScene);
watch("shot", showShot);
watch("value", showWish);
