"""What happens within the browser: the scripts of the page's listeners. Those of the viewfinder are its own."""

STAY = '{__type__: "update"}'  # leaves a component as it is
# both fields empty is the main subject, one empty a point being typed; one outside the photo changes nothing
POINT_TYPED = """(wish, x, y) => {
    if (!wish || (x === null) !== (y === null)) return wish;
    if (x === null) return {...wish, range: null, point: null};
    const [width, height] = inView().size, inside = 0 <= x && x < width && 0 <= y && y < height;
    return inside ? {...wish, range: null, point: [x, y]} : wish;
}"""
# once they are left the fields say again what is wished for; as one is left nobody knows yet where to
_LEFT = "await new Promise(soon => setTimeout(soon)); const there = document.activeElement, {wish, focus} = inView();"
POINT_LEFT = f"""async (x, y) => {{
    {_LEFT}
    const typing = there.closest("#point") || x === null || y === null;
    return typing ? [{STAY}, {STAY}] : wish?.point ?? [null, null];
}}"""
# an end that is empty, out of range or beyond the other one is being typed; a slider stops at the other one
_END_MOVED = f"""(wish, far, near) => {{
    let stop = {STAY};
    if (document.activeElement.type === "range" && far > near) stop = MOVED = OTHER;
    const range = [far, near], whole = range.every(end => end !== null && 0 <= end && end <= 1) && far <= near;
    return [wish && whole ? {{...wish, point: null, range}} : wish, stop];
}}"""
FAR_MOVED = _END_MOVED.replace("MOVED", "far").replace("OTHER", "near")
NEAR_MOVED = _END_MOVED.replace("MOVED", "near").replace("OTHER", "far")
# where one says it already nothing is written: somebody may be typing there
_SHOWN = f"ends.map((end, i) => Math.abs(end - [far, near][i]) < 0.006 ? {STAY} : Math.round(end * 100) / 100)"
ENDS_SHOWN = f"""async (far, near) => {{
    {_LEFT}
    const ends = wish?.range ?? focus;
    return there.closest("#ends") || !ends ? [{STAY}, {STAY}] : {_SHOWN};
}}"""
# the wish may be of some digits ago: what is being typed is left as it is until its field is left
WISH_SHOWN = f"""(wish, x, y, far, near) => {{
    const typing = within => document.activeElement.closest(within);
    const ends = typing("#ends") ? [far, near] : wish?.range ?? [far, near];
    const placeholder = wish?.range ? "none: a range" : "main subject";
    const point = (wish?.point ?? [null, null]).map(value => typing("#point") ? {{}} : {{value}});
    return [...point.map(said => ({{...{STAY}, placeholder, ...said}})), ...{_SHOWN}];
}}"""
# what a slider's field says is kept within the slider's range; a picture of the lens as set is on its way
LENS_SET = """(scene, wish, comparing, ...lens) => {
    document.querySelector(".finder").setAttribute("data-busy", "");
    const within = (value, range) => range ? Math.min(Math.max(value, range[0]), range[1]) : value;
    return [scene, wish, comparing, ...lens.map((value, i) => within(value, RANGES[i]))];
}"""
NOT_BUSY = """() => document.querySelector(".finder").removeAttribute("data-busy")"""
# what was said of the photo before goes once another comes; an emptied box is none
HUSH = "document.querySelectorAll('[data-testid=toast-close]').forEach(button => button.click())"
HANDED_OVER = f"file => (file && {HUSH}, [file])"
CHOSEN = f"() => ({HUSH}, [])"
# once its photo is opened the box is emptied for the next one, unless that has come in the meantime; gradio tells twice
# of a photo that takes another's place in the box
OPENING = """(file, cut) => {
    if (file?.path === window.opening) return [null, cut];
    window.opening = file?.path;
    return [file, cut];
}"""
EMPTIED = """now => now?.path === window.opening ? null : {__type__: "update"}"""
# once a picture was taken the camera is let go; its box shrinks when it is gone, and what is below moves up
CAMERA_OFF = """() => {
    const finder = document.querySelector(".finder"); // hidden until it has the photo
    const look = () => cameraOn() || !finder.offsetParent ? requestAnimationFrame(look) : finder.scrollIntoView();
    if (!cameraOn()) return;
    document.querySelector('#upload [aria-label="Upload file"]').click();
    look();
}"""
# and a word on why the photo is gone: once gradio has the server again, it starts the page anew without any
LOST = "The connection was lost and the page started anew. Please open your photo again."
LOADED = """() => {
    const name = () => {
        // the box would show what is uploaded until it is opened, fetched from here: the scene had to wait for that
        document.querySelectorAll("#upload img[src]").forEach(img => img.removeAttribute("src"));
        for (const button of document.querySelectorAll("#examples button")) button.ariaLabel = button.innerText.trim();
        document.querySelectorAll("#compare img").forEach((img, i) => img.alt = ["Photo", "Refocused"][i]);
        const told = [...document.querySelectorAll("[data-photo] .toast-body.error")].map(toast => toast.innerText);
        const lost = told.some(text => text.includes("Connection to the server was lost"));
        // later: gradio, which hears of the leaving first, may say it before the listener below is called
        if (lost) setTimeout(() => { if (!leaving) sessionStorage.lost = "LOST"; });
    };
    let leaving = false;
    addEventListener("beforeunload", () => leaving = true); // ends connections as well
    name(); // gradio makes them when they come into sight, and numbers the ones, says nothing of the others
    new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
    const lost = sessionStorage.lost;
    delete sessionStorage.lost;
    return [null, null, null, null, null, {__type__: "update", value: lost ?? "", visible: Boolean(lost)}];
}""".replace("LOST", LOST)
# a panel comes in below what is in sight; so much of it is scrolled to, and no more
PANEL_SHOWN = """() => setTimeout(() => {
    const panel = [...document.querySelectorAll("[role=tabpanel]")].find(panel => panel.offsetParent);
    document.querySelector(".finder").dataset.panel = panel.id;
    panel.scrollIntoView({behavior: ride(), block: "nearest"});
}, 50)"""
# one brush, in the viewfinder and among the controls
BRUSH_CHOSEN = """() => {
    const [kind, radius] = [...document.querySelectorAll("[data-brush]")].map(field => field.value);
    return [kind, Number(radius)];
}"""
BRUSH_SHOWN = """(...brush) => document.querySelectorAll("[data-brush]")
    .forEach((field, i) => field.value = brush[i])"""
BLADES_SHOWN = """blades => Array(2).fill({__type__: "update", interactive: blades !== "Round"})"""
# gradio goes on saying that a film waits in the line after it was cancelled
FILM_CUT = "() => document.querySelector('.gradio-container').toggleAttribute('data-cut', {})"
SAVING = """() => ({__type__: "update", value: "Saving …", interactive: false})"""
# gone while it could not be pressed, the keyboard's focus comes back
AT_REST = """() => {
    const back = () => document.querySelector("#ID").focus({preventScroll: true});
    setTimeout(() => document.activeElement === document.body && back(), 100);
    return {__type__: "update", value: "LABEL", interactive: true};
}"""
FETCH = """() => {
    document.querySelector(".finder .told").textContent = "Saved";
    setTimeout(() => document.querySelector("#ready-NAME").click(), 100);
}"""
