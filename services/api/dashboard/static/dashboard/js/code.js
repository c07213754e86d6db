// Shows code with its words coloured, and changes line by line. The library is fetched once something needs it; what it
// finds becomes DOM nodes, never markup.

const LONGEST_COLOURED = 30000;
const LANGUAGES = {
  bash: "bash", c: "c", cc: "cpp", conf: "ini", cpp: "cpp", cs: "csharp", css: "css", diff: "diff", go: "go", h: "c", htm: "xml",
  html: "xml", ini: "ini", java: "java", js: "javascript", json: "json", jsx: "javascript", kt: "kotlin", less: "less",
  lua: "lua", md: "markdown", mjs: "javascript", patch: "diff", php: "php", pl: "perl", py: "python", r: "r", rb: "ruby",
  rs: "rust", scss: "scss", sh: "bash", sql: "sql", svg: "xml", swift: "swift", toml: "ini", ts: "typescript",
  tsx: "typescript", xml: "xml", yaml: "yaml", yml: "yaml",
};
let library = null;

function load() {
  library ??= import("../vendor/highlight/highlight.min.mjs").then((loaded) => loaded.default);
  return library;
}

export function languageOf(path) {
  return LANGUAGES[/\.([a-z0-9]+)$/i.exec(path)?.[1].toLowerCase()] ?? "";
}

// Colours what `element` shows already, if its language is known and it is not too long.
export async function colour(element, language) {
  const text = element.textContent;
  if (!language || !text || text.length > LONGEST_COLOURED) return;
  const highlight = await load().catch(() => null);
  // Meanwhile it may show something else.
  if (!highlight?.getLanguage(language) || element.textContent !== text) return;
  const found = highlight.highlight(text, { language, ignoreIllegals: true });
  element.replaceChildren(...nodesOf(found._emitter.rootNode.children));
}

function nodesOf(children) {
  return children.map((child) => {
    if (typeof child === "string") return child;
    const span = document.createElement("span");
    if (child.scope) span.className = `hl-${child.scope.split(".")[0].replace(/[^a-z_-]/gi, "")}`;
    span.append(...nodesOf(child.children));
    return span;
  });
}

export function isDiff(text) {
  return /^(diff --git |--- [^\n]*\n\+\+\+ |@@ -\d)/m.test(text.slice(0, 4000));
}

// Shows a unified diff, or lines that begin with their marks, in colours.
export function showDiff(element, text) {
  const lines = text.slice(0, 200000).split("\n").map((line, at, all) => {
    const kind = kindOf(line);
    const whole = at < all.length - 1 ? `${line}\n` : line;
    if (!kind) return whole;
    const span = document.createElement(kind === "added" ? "ins" : kind === "removed" ? "del" : "span");
    if (kind === "place") span.className = "diff-place";
    span.textContent = whole;
    return span;
  });
  element.classList.add("is-diff");
  element.replaceChildren(...lines);
}

function kindOf(line) {
  if (line.startsWith("@@") || line.startsWith("diff --git") || line.startsWith("+++ ") || line.startsWith("--- ")) return "place";
  return { "+": "added", "-": "removed" }[line[0]] ?? "";
}

// Returns the lines of two texts with their marks; what both begin and end with is there once.
export function changed(before, after) {
  const old = before.split("\n");
  const made = after.split("\n");
  let head = 0;
  while (head < Math.min(old.length, made.length) && old[head] === made[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(old.length, made.length) - head && old.at(-1 - tail) === made.at(-1 - tail)) tail += 1;
  return [
    ...old.slice(0, head).map((line) => `  ${line}`),
    ...old.slice(head, old.length - tail).map((line) => `- ${line}`),
    ...made.slice(head, made.length - tail).map((line) => `+ ${line}`),
    ...old.slice(old.length - tail).map((line) => `  ${line}`),
  ].join("\n");
}
