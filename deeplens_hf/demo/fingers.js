// A finger that happens to begin on a slider and scrolls the page leaves the slider as it was: browsers move its thumb
// before they know what the finger is about, and say "pointercancel" once they do. Until it has gone along the slider, or
// was lifted, nobody hears of the move.
const ALONG = 8; // pixels
let touched = null; // {slider, value: before, x, sure: that the slider is meant}
const early = { capture: true };
const tell = (slider) => slider.dispatchEvent(new Event("input", { bubbles: true }));
document.addEventListener(
  "pointerdown",
  ({ target, pointerType, clientX }) => {
    const meant = target.type === "range" && pointerType === "touch";
    touched = meant ? { slider: target, value: target.value, x: clientX, sure: false } : null;
  },
  early,
);
document.addEventListener(
  "pointermove",
  ({ clientX }) => {
    if (touched && Math.abs(clientX - touched.x) > ALONG) touched.sure = true;
  },
  early,
);
document.addEventListener(
  "input",
  (event) => {
    if (touched && !touched.sure && event.target === touched.slider) event.stopImmediatePropagation();
  },
  early,
);
for (const end of ["pointerup", "pointercancel"])
  document.addEventListener(
    end,
    () => {
      const { slider, value, sure } = touched ?? {};
      touched = null;
      if (!slider || slider.value === value) return;
      const cancelled = end === "pointercancel";
      if (cancelled) slider.value = value;
      if (cancelled === sure) tell(slider); // nobody has heard of a tap yet; what went along the slider is taken back
    },
    early,
  );
