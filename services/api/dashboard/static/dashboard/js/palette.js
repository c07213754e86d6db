// The command palette: Ctrl-K or ⌘K, then a name. Pages come from the navigation, everything else from the server.

const LINGER_MS = 120;
const dialog = document.querySelector("[data-palette]");
const input = dialog.querySelector("input");
const list = dialog.querySelector("[role=listbox]");
const none = dialog.querySelector("[data-none]");
const svg = "http://www.w3.org/2000/svg";

const pages = [...document.querySelectorAll(".side nav a")].map((link) => ({
  label: link.querySelector("span").textContent,
  kind: "Page",
  icon: link.querySelector("use")?.getAttribute("href").split("#")[1] ?? "arrow",
  url: link.getAttribute("href"),
}));

let chosen = 0;
let round = 0;
let timer = null;

function matching(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = pages.filter(({ label }) => words.every((word) => label.toLowerCase().includes(word)));
  // What begins with it first; the order is else the navigation's.
  const begins = ({ label }) => Number(!label.toLowerCase().startsWith(words[0] ?? ""));
  return found.sort((one, other) => begins(one) - begins(other));
}

function iconOf(name) {
  const icon = document.createElementNS(svg, "svg");
  icon.setAttribute("class", "icon");
  icon.setAttribute("aria-hidden", "true");
  icon.append(document.createElementNS(svg, "use"));
  icon.firstChild.setAttribute("href", `${dialog.dataset.icons}#${name}`);
  return icon;
}

function draw(lines) {
  list.replaceChildren(...lines.map((line, place) => {
    const item = document.createElement("li");
    item.setAttribute("role", "option");
    item.id = `palette-${place}`;
    const link = document.createElement("a");
    link.href = line.url;
    link.tabIndex = -1;
    const label = document.createElement("span");
    label.textContent = line.label;
    const kind = document.createElement("small");
    kind.textContent = line.kind;
    link.append(iconOf(line.icon), label, kind);
    item.append(link);
    return item;
  }));
  none.hidden = lines.length > 0;
  choose(0);
}

function choose(place) {
  const items = [...list.children];
  chosen = items.length ? (place + items.length) % items.length : 0;
  items.forEach((item, number) => item.setAttribute("aria-selected", String(number === chosen)));
  items[chosen]?.scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", items[chosen]?.id ?? "");
}

async function find() {
  const own = ++round;
  const text = input.value.trim();
  const known = matching(text);
  let found = [];
  try {
    const answer = await fetch(`${dialog.dataset.url}?q=${encodeURIComponent(text)}`, {
      headers: { Accept: "application/json" },
    });
    if (answer.status === 401) location.reload();
    if (answer.ok) found = (await answer.json()).items;
  } catch {
    // Without the server, the pages can still be found.
  }
  if (own === round) draw(text ? [...known, ...found] : [...found, ...known]);
}

function open() {
  if (dialog.open) return;
  input.value = "";
  draw(pages);
  dialog.showModal();
  find();
}

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
  if (event.target.closest?.("[data-terminal]")) return;
  event.preventDefault();
  if (dialog.open) dialog.close();
  else open();
});
const opener = document.querySelector("[data-palette-open]");
opener.hidden = false;
opener.addEventListener("click", open);
input.addEventListener("input", () => {
  draw(matching(input.value));
  clearTimeout(timer);
  timer = setTimeout(find, LINGER_MS);
});
input.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    choose(chosen + step);
  } else if (event.key === "Enter") {
    event.preventDefault();
    list.children[chosen]?.querySelector("a").click();
  }
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
