// A finger that happens to begin on a slider and scrolls the page leaves the slider as it was: browsers move its thumb
// before they know what the finger is about, then say "pointercancel", and nobody takes the move back.
let touched = null; // [slider, its value before]
document.addEventListener(
  "pointerdown",
  ({ target }) => (touched = target.type === "range" ? [target, target.value] : null),
  true,
);
document.addEventListener(
  "pointercancel",
  () => {
    if (!touched || touched[0].value === touched[1]) return;
    touched[0].value = touched[1];
    touched[0].dispatchEvent(new Event("input", { bubbles: true }));
  },
  true,
);
