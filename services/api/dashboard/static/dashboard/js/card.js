// A tool's card as a person reads it: a change as a diff, a file and a command in colours. Drawn once it is opened, so
// that a long conversation costs nothing for what nobody looks at.

import { changed, colour, isDiff, languageOf, showDiff } from "./code.js";

const COMMANDS = new Set(["Bash", "Shell", "shell", "bash"]);

function slot(card, name) {
  return card.querySelector(`[data-slot="${name}"]`);
}

function fieldsOf(text) {
  if (text[0] !== "{") return {};
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function drawInput(card) {
  const place = slot(card, "input");
  const text = place.textContent;
  const fields = fieldsOf(text);
  const path = typeof fields.file_path === "string" ? fields.file_path : fields.path;
  const edits = Array.isArray(fields.edits) ? fields.edits : [fields];
  if (edits.length && edits.every((edit) => typeof edit?.old_string === "string" && typeof edit.new_string === "string")) {
    const told = edits.map((edit) => changed(edit.old_string, edit.new_string)).join("\n@@\n");
    showDiff(place, path ? `--- ${path}\n${told}` : told);
  } else if (typeof fields.content === "string" && path) {
    place.textContent = fields.content;
    colour(place, languageOf(path));
  } else if (COMMANDS.has(slot(card, "name").textContent)) {
    colour(place, "bash");
  } else if (text[0] === "{") {
    colour(place, "json");
  }
}

function drawOutput(card) {
  const place = slot(card, "output");
  const text = place.textContent;
  if (isDiff(text)) showDiff(place, text);
  else if (/^[[{]/.test(text) && /[\]}]\s*$/.test(text)) colour(place, "json");
}

// Draws what an open card shows; safe to call at any time and again.
export function drawCard(card) {
  if (!card.open) return;
  if (!card.isInputDrawn) {
    card.isInputDrawn = true;
    drawInput(card);
  }
  if (!card.isOutputDrawn && card.dataset.state !== "running") {
    card.isOutputDrawn = true;
    drawOutput(card);
  }
}

// Draws each card of a conversation as it is opened, whoever opens it.
export function drawWhenOpened(conversation) {
  conversation.addEventListener("toggle", (event) => {
    if (event.target.matches(".tool")) drawCard(event.target);
  }, true);
  for (const card of conversation.querySelectorAll(".tool[open]")) drawCard(card);
}
