"""How the page looks: a quiet theme that lets the photos speak, in the fonts of the visitor's own system."""

import gradio as gr

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace")

THEME = gr.themes.Base(
    primary_hue="amber", neutral_hue="zinc", radius_size="lg", spacing_size="md", font=SANS, font_mono=MONO
).set(
    body_text_color_subdued="*neutral_600",  # readable: a contrast of 7 to 1
    body_text_color_subdued_dark="*neutral_400",
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    button_primary_background_fill="*primary_400",
    button_primary_background_fill_hover="*primary_500",
    button_primary_background_fill_dark="*primary_500",
    button_primary_text_color="#18181b",
    button_primary_text_color_dark="#18181b",
    slider_color="*primary_500",
    slider_color_dark="*primary_500",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    checkbox_border_color="*neutral_400",
    checkbox_border_color_dark="*neutral_400",
)

CSS = """
.gradio-container { --amber: #b45309; } /* to be read on white: a contrast of 5 to 1 */
.dark .gradio-container, .gradio-container.dark { --amber: #f59e0b; }
.gradio-container { max-width: 1360px !important; margin: 0 auto !important; overflow: clip !important; }
.gradio-container, .gradio-container > .main, .gradio-container .wrap:has(> main), main.contain { width: 100%; }
.gradio-container:not([data-photo]) .studio { display: none !important; }
#title h1 { margin: 0; font-size: 1.6rem; letter-spacing: -.02em; }
#title p { margin: 2px 0 0; color: var(--body-text-color-subdued); }
#examples .grid-wrap, .tab-wrapper { contain: inline-size; }
#examples, #examples .grid-wrap { height: auto !important; min-height: 0 !important; }
#examples .grid-container { grid-auto-flow: column; grid-template-columns: none; overflow-x: auto;
  grid-auto-columns: minmax(104px, 1fr); }
.gradio-container > .main { padding: clamp(10px, 2.5vw, 32px) !important; }
.gradio-container:not([data-photo]) #upload { height: min(44vh, 420px) !important; }
.gradio-container:not([data-photo]) #examples .grid-container { grid-auto-flow: row !important;
  grid-template-columns: repeat(3, minmax(0, 1fr)) !important; }
.gradio-container:not([data-photo]) #examples .thumbnail-item { aspect-ratio: 4 / 3; }
#examples [data-testid=status-tracker] { opacity: 0; pointer-events: none; } /* no veil: another can be chosen */
#examples:has([data-testid=status-tracker]:not(.hide)) .selected { animation: waiting .6s infinite alternate; }
@keyframes waiting { to { opacity: .45; } }
#examples .caption-label { inset: auto 4px 4px; max-width: none; padding: 2px 4px; border: 0; border-radius: 6px;
  background: #18181bd9; color: #fff; opacity: 1 !important; font-size: 13px; text-align: center; }
#aperture { align-items: center; flex-wrap: wrap; gap: 6px 18px; padding: 6px 14px; border-radius: 12px;
  border: 1px solid var(--border-color-primary); background: var(--block-background-fill); }
#aperture > * { flex: 0 0 auto; width: auto; min-width: 0; }
#aperture > #stop { flex: 1 1 260px; }
#aperture > button { flex-basis: 224px; } /* the same while it says that it saves */
#stop input[type=number], #stop .head, #stop .min_value, #stop .max_value { display: none; }
#viewfinder, #viewfinder .html-container, #readout .html-container { padding: 0; }
.tabs .row > button { align-self: center; }
.tabs .row > .row { min-width: min(420px, 100%); } /* one above the other where their fields would be too narrow */
#upload:has([aria-label="Capture from camera"].selected) { height: min(420px, 60vh) !important; }
#readout { min-width: 118px; padding: 0; }
#readout b, #readout span { display: block; line-height: 1.2; }
#readout b { font-size: 1.7rem; }
[role=tabpanel] { scroll-margin: 60px 0 12px; } /* the tabs stay in sight above it */
.tab-container button.selected { color: var(--amber) !important; }
input:is([type=radio], [type=checkbox]):checked:is(:hover, :focus) { border-color: var(--color-accent) !important;
  background-color: var(--color-accent) !important; }
input:is([type=number], [type=text], [type=radio], [type=checkbox]):focus-visible, textarea:focus-visible {
  outline: 2px solid var(--amber) !important; outline-offset: 2px; }
input[type=range]:focus-visible { outline: 2px solid var(--amber) !important; outline-offset: 5px; }
#compare:not(.fullscreen) { aspect-ratio: var(--ratio); max-height: min(500px, 70vh); margin-inline: auto;
  max-width: calc(min(500px, 70vh) * var(--ratio)); } /* beside it a finger can scroll the page */
#compare .slider-wrap { container-type: size; } /* the picture fills one of its sides; the names lie on the picture */
#compare .slider-wrap::before, #compare .slider-wrap::after { position: absolute; z-index: 20;
  --beside: calc(max(0px, 50cqw - 50cqh * var(--ratio)) + 10px);
  bottom: calc(max(0px, 50cqh - 50cqw / var(--ratio)) + 10px);
  padding: 2px 8px; border-radius: 6px; background: #18181bd9; color: #fff; font-size: 13px; pointer-events: none; }
#compare .slider-wrap:has(img)::before { content: "Photo"; left: var(--beside); }
#compare .slider-wrap:has(img)::after { content: "Refocused"; right: var(--beside); }
.gradio-container[data-cut] #film [data-testid=status-tracker], .gradio-container[data-photo] #note { display: none; }
#reels button[aria-label="Remove this file"] { display: none; } /* they are to be taken, not given */
[data-testid=status-tracker].hide { display: none; }
.dim { color: var(--body-text-color-subdued); font-size: .85rem; }
input[type=range]::-webkit-slider-thumb { background: var(--slider-color) !important; box-shadow: 0 0 0 2px #fff; }
.dark input { color-scheme: dark; } /* the spin buttons of number fields */
.dark input[type=range] { --neutral-200: var(--neutral-700); }
footer { opacity: .8; }
#aperture { position: sticky; bottom: 0; z-index: 5; }
#stop, #stop * { overflow: visible !important; }
@media (max-width: 640px) {
  .tab-container button { padding-inline: 5px; font-size: 13px; } /* all six beside one another at 390 pixels */
  #aperture { gap: 8px 12px; padding: 8px 12px; }
  #aperture > #stop { flex-basis: 150px; }
  #aperture > button { flex-basis: 100%; padding: 6px; }
  #readout { min-width: 100px; }
  #readout b { font-size: 1.3rem; }
  [role=tabpanel] { scroll-margin-top: calc(20vh + 60px); } /* below the photo that follows */
  [role=tabpanel] :is(input, button, select, textarea) { scroll-margin-top: calc(20vh + 24px); }
  input:not([type=range]), select, textarea { font-size: 16px !important; } /* Safari zooms into what is smaller */
}
@media (max-width: 640px) and (max-height: 380px) { #aperture { position: static; } }
@media (prefers-reduced-motion: reduce) { #examples .selected { animation: none !important; } }
@media (forced-colors: active) {
  input:is([type=range], [type=radio], [type=checkbox]) { forced-color-adjust: none; }
  .tab-container button.selected { outline: 2px solid Highlight; outline-offset: -2px; }
  #aperture > button, .tabs .row button { border: 1px solid ButtonBorder; }
}
"""  # gradio puts a prefix to rules within @media that keeps them from reaching the outer containers

LOOK: dict = {"theme": THEME, "css": CSS}
