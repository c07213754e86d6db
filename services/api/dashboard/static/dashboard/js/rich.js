// Shows an agent's text: paragraphs, lists, headings, tables, quotes, code, pictures from the workspace, links to http
// and https. Everything is made as DOM nodes; text never becomes markup.

import { colour, isDiff, showDiff } from "./code.js";

const FENCE = /^\s{0,3}(```+|~~~+)\s*([\w+#.-]*)\s*$/;
const BULLET = /^\s{0,6}[-*+]\s+(.*)$/;
const NUMBER = /^\s{0,6}(\d{1,9})[.)]\s+(.*)$/;
const HEADING = /^\s{0,3}#{1,6}\s+(.*?)\s*#*$/;
const QUOTE = /^\s{0,3}>\s?(.*)$/;
const RULE = /^\s{0,3}(?:-\s*){3,}$|^\s{0,3}(?:\*\s*){3,}$/;
const ROW = /^\s{0,3}\|(.+)\|\s*$/;
const UNDER_HEADS = /^\s{0,3}\|(?:\s*:?-+:?\s*\|)+\s*$/;
const PICTURE = /^\s{0,3}!\[([^\]\n]{0,300})\]\(([^\s()]{1,500})\)\s*$/;
const INLINE = /(?<!`)(`+)(?!`)([^]+?)(?<!`)\1(?!`)|\[([^\]\n]{1,500})\]\((https?:\/\/[^\s()<>]+(?:\([^\s()<>]*\))?[^\s()<>]*)\)|\*\*([^*\n]+?)\*\*|(?<![\w*])\*([^\s*](?:[^*\n]*[^\s*])?)\*(?![\w*])|(https?:\/\/[^\s<>"'`]+)/g;

// `isLive`: more of the text is coming, so that colours wait for its end.
export function showRich(element, text, { isLive = false } = {}) {
  const fragment = document.createDocumentFragment();
  for (const block of blocksOf(text, isLive)) fragment.append(block);
  element.replaceChildren(fragment);
  element.classList.add("is-rich");
}

function* blocksOf(text, isLive) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    if (fence) {
      const end = endOfFence(lines, at + 1, fence[1]);
      yield codeBlock(lines.slice(at + 1, end).join("\n"), fence[2].toLowerCase(), isLive);
      at = end + 1;
    } else if (!line.trim()) {
      at += 1;
    } else if (HEADING.test(line)) {
      yield withInline(document.createElement("h3"), HEADING.exec(line)[1]);
      at += 1;
    } else if (RULE.test(line)) {
      yield document.createElement("hr");
      at += 1;
    } else if (ROW.test(line) && UNDER_HEADS.test(lines[at + 1] ?? "")) {
      const [table, next] = tableFrom(lines, at);
      yield table;
      at = next;
    } else if (PICTURE.test(line) && isOfWorkspace(PICTURE.exec(line)[2])) {
      yield picture(...PICTURE.exec(line).slice(1));
      at += 1;
    } else if (QUOTE.test(line)) {
      const from = at;
      while (at < lines.length && QUOTE.test(lines[at])) at += 1;
      yield withInline(document.createElement("blockquote"), lines.slice(from, at).map((one) => QUOTE.exec(one)[1]).join("\n"));
    } else if (BULLET.test(line) || NUMBER.test(line)) {
      const [list, next] = listFrom(lines, at);
      yield list;
      at = next;
    } else {
      const end = endOfParagraph(lines, at + 1);
      yield withInline(document.createElement("p"), lines.slice(at, end).join("\n"));
      at = end;
    }
  }
}

function endOfFence(lines, from, mark) {
  for (let at = from; at < lines.length; at += 1) {
    const line = lines[at].trim();
    if (line.startsWith(mark) && line.replaceAll(mark[0], "") === "") return at;
  }
  return lines.length;
}

function endOfParagraph(lines, from) {
  for (let at = from; at < lines.length; at += 1) {
    const line = lines[at];
    if (!line.trim() || [FENCE, HEADING, BULLET, NUMBER, QUOTE, RULE].some((kind) => kind.test(line))) return at;
    if (ROW.test(line) && UNDER_HEADS.test(lines[at + 1] ?? "")) return at;
  }
  return lines.length;
}

function listFrom(lines, from) {
  const isNumbered = NUMBER.test(lines[from]);
  const item = isNumbered ? NUMBER : BULLET;
  const list = document.createElement(isNumbered ? "ol" : "ul");
  if (isNumbered) list.start = Number(NUMBER.exec(lines[from])[1]);
  let at = from;
  while (at < lines.length && item.test(lines[at])) {
    const parts = [item.exec(lines[at]).at(-1)];
    at += 1;
    while (at < lines.length && /^\s{2,}\S/.test(lines[at]) && !BULLET.test(lines[at]) && !NUMBER.test(lines[at])) {
      parts.push(lines[at].trim());
      at += 1;
    }
    list.append(withInline(document.createElement("li"), parts.join(" ")));
  }
  return [list, at];
}

function codeBlock(text, language, isLive) {
  const pre = document.createElement("pre");
  const code = document.createElement("code");
  code.textContent = text;
  pre.append(code);
  if (isLive) return pre;
  if (language === "diff" || language === "patch" || (!language && isDiff(text))) showDiff(code, text);
  else colour(code, language);
  return pre;
}

function tableFrom(lines, from) {
  const table = document.createElement("table");
  const heads = cellsOf(lines[from]);
  const sides = cellsOf(lines[from + 1]).map((cell) => (/^-+:$/.test(cell) ? "right" : /^:-+:$/.test(cell) ? "center" : ""));
  const rowOf = (cells, kind) => {
    const row = document.createElement("tr");
    for (let at = 0; at < heads.length; at += 1) {
      const cell = withInline(document.createElement(kind), cells[at] ?? "");
      if (sides[at]) cell.className = `is-${sides[at]}`;
      row.append(cell);
    }
    return row;
  };
  table.createTHead().append(rowOf(heads, "th"));
  const body = table.createTBody();
  let at = from + 2;
  for (; at < lines.length && ROW.test(lines[at]); at += 1) body.append(rowOf(cellsOf(lines[at]), "td"));
  const frame = document.createElement("div");
  frame.className = "table-frame";
  frame.tabIndex = 0;
  frame.append(table);
  return [frame, at];
}

function cellsOf(line) {
  return ROW.exec(line)[1].split(/(?<!\\)\|/).map((cell) => cell.replaceAll("\\|", "|").trim());
}

function isOfWorkspace(path) {
  return Boolean(document.querySelector("[data-files]")) && !/^[a-z][a-z0-9+.-]*:|^\/\/|^\\/i.test(path);
}

// A picture from the workspace's files. Looking wakes the sandbox, so it is fetched once somebody opens it.
function picture(label, path) {
  const details = filled("details", "");
  details.className = "picture";
  const image = document.createElement("img");
  image.alt = label;
  details.append(filled("summary", label || path), image);
  details.addEventListener("toggle", () => {
    const inside = path.replace(/^\/?workspace\//, "").replace(/^\.\//, "");
    if (details.open && !image.src) image.src = `${document.querySelector("[data-files]").dataset.files}?path=${encodeURIComponent(inside)}`;
  });
  image.addEventListener("error", () => image.replaceWith(filled("span", `${path} cannot be shown.`)));
  return details;
}

function withInline(element, text) {
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    element.append(text.slice(from, match.index));
    element.append(...inlineOf(match));
    from = match.index + match[0].length;
  }
  element.append(text.slice(from));
  return element;
}

function inlineOf([whole, , code, label, address, bold, stressed, bare]) {
  if (code !== undefined) return [filled("code", code)];
  if (bold !== undefined) return [filled("strong", bold)];
  if (stressed !== undefined) return [filled("em", stressed)];
  if (address !== undefined) return [linkTo(address, label) ?? whole];
  const trimmed = bare.replace(/[.,;:!?)\]}]+$/, "");
  const link = linkTo(trimmed, trimmed);
  return link ? [link, bare.slice(trimmed.length)] : [whole];
}

function filled(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

function linkTo(address, label) {
  if (!URL.canParse(address) || !["http:", "https:"].includes(new URL(address).protocol)) return null;
  const link = filled("a", label);
  link.href = address;
  link.rel = "noopener noreferrer nofollow";
  link.target = "_blank";
  return link;
}
