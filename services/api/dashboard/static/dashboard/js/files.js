// The page of files: what is dropped or pasted onto it is uploaded, and Tab writes a tab in the editor.

const form = document.querySelector("form[data-drop]");

function upload(files) {
  form.elements.files.files = files;
  form.requestSubmit();
}

if (form) {
  const page = document.querySelector("main");
  let depth = 0;
  const mark = (by) => {
    depth = by ? depth + by : 0;
    page.classList.toggle("is-dropping", depth > 0);
  };
  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  page.addEventListener("dragenter", (event) => carriesFiles(event) && mark(1));
  page.addEventListener("dragleave", (event) => carriesFiles(event) && mark(-1));
  page.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  page.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    mark(0);
    if (event.dataTransfer.files.length) upload(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) upload(event.clipboardData.files);
  });
}

const editor = document.querySelector("textarea[data-editor]");
let isLeaving = false;

if (editor) {
  // Escape gives Tab back to the keyboard's way through the page.
  let isTyping = false;
  editor.addEventListener("input", () => (isTyping = true));
  editor.addEventListener("keydown", (event) => {
    if (event.key === "Escape") isTyping = false;
    if (event.key !== "Tab" || !isTyping || event.shiftKey || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    editor.setRangeText("\t", editor.selectionStart, editor.selectionEnd, "end");
  });
  editor.form.addEventListener("submit", () => (isLeaving = true));
  window.addEventListener("beforeunload", (event) => {
    if (!isLeaving && editor.value !== editor.defaultValue) event.preventDefault();
  });
}
