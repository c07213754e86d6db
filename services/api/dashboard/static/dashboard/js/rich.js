// Shows an agent's text: paragraphs, lists, headings, code, links to http and https. Everything is made as DOM nodes;
// text never becomes markup.

const FENCE = /^\s{0,3}(```+|~~~+)\s*([\w+#.-]*)\s*$/;
const BULLET = /^\s{0,6}[-*+]\s+(.*)$/;
const NUMBER = /^\s{0,6}(\d{1,9})[.)]\s+(.*)$/;
const HEADING = /^\s{0,3}#{1,6}\s+(.*?)\s*#*$/;
const INLINE = /(?<!`)(`+)(?!`)([^]+?)(?<!`)\1(?!`)|\[([^\]\n]{1,500})\]\((https?:\/\/[^\s()<>]+(?:\([^\s()<>]*\))?[^\s()<>]*)\)|\*\*([^*\n]+?)\*\*|(?<![\w*])\*([^\s*](?:[^*\n]*[^\s*])?)\*(?![\w*])|(https?:\/\/[^\s<>"'`]+)/g;

export function showRich(element, text) {
  const fragment = document.createDocumentFragment();
  for (const block of blocksOf(text)) fragment.append(block);
  element.replaceChildren(fragment);
  element.classList.add("is-rich");
}

function* blocksOf(text) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    if (fence) {
      const end = endOfFence(lines, at + 1, fence[1]);
      yield codeBlock(lines.slice(at + 1, end).join("\n"));
      at = end + 1;
    } else if (!line.trim()) {
      at += 1;
    } else if (HEADING.test(line)) {
      yield withInline(document.createElement("h3"), HEADING.exec(line)[1]);
      at += 1;
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
    if (!line.trim() || FENCE.test(line) || HEADING.test(line) || BULLET.test(line) || NUMBER.test(line)) return at;
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

function codeBlock(text) {
  const pre = document.createElement("pre");
  const code = document.createElement("code");
  code.textContent = text;
  pre.append(code);
  return pre;
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
