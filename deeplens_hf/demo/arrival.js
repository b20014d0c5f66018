// A file pasted or dropped anywhere goes to the upload box; left to the browser a dropped one would take the page's place.
function arrive([file]) {
  const box = document.querySelector("#upload input[type=file]");
  if (!file || !box) return;
  box.files = typed([file]).files;
  box.dispatchEvent(new Event("change", { bubbles: true }));
  // it shows how far the file has come; what is no picture it refuses
  if (box.files[0].type.startsWith("image/")) box.closest("#upload").scrollIntoView({ block: "nearest" });
}
// Browsers know no type of what has no suffix, nor on Windows of HEIC and MPO: gradio's box refuses that unread. It is
// taken for a picture, whichever way it comes, and the server looks into it.
const typeless = (files) => [...files].some((file) => !file.type);
function typed(files) {
  const transfer = new DataTransfer();
  for (const file of files)
    transfer.items.add(file.type ? file : new File([file], file.name, { type: "image/unknown" }));
  return transfer;
}
// A folder cannot be sent, and is no picture: the server says so of an empty file.
const isFolder = (item) => item.webkitGetAsEntry()?.isDirectory;
const given = ({ items, files }) => ([...items].some(isFolder) ? [new File([], "folder")] : files);
const first = { capture: true }; // before the box hears of it
document.addEventListener(
  "change",
  ({ target }) => {
    if (target.matches("#upload input[type=file]") && typeless(target.files)) target.files = typed(target.files).files;
  },
  first,
);
document.addEventListener(
  "drop",
  (event) => {
    const { target } = event;
    const files = given(event.dataTransfer);
    if (!target.closest("#upload") || !typeless(files)) return;
    event.preventDefault();
    event.stopPropagation();
    target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: typed(files) }));
  },
  first,
);
document.addEventListener("paste", (event) => arrive(event.clipboardData.files));
// dragenter as well: of one let go the moment it comes over something, or as the page moves under it, no dragover is sent
for (const name of ["dragenter", "dragover", "drop"])
  document.addEventListener(name, (event) => {
    if (event.defaultPrevented || !event.dataTransfer.types.includes("Files")) return; // another box's, or text
    event.preventDefault();
    if (name === "drop") arrive(given(event.dataTransfer));
  });
