// The page of one room: asks for what was said when the organisation's stream says that it changed.

import { fit } from "./page.js";
import { freshKey, post } from "./posting.js";
import { showRich } from "./rich.js";
import { Stream } from "./stream.js";

const WORKING_MS = 3000;
const element = document.querySelector("[data-room]");
const scroller = document.querySelector("[data-scroll]");
const form = document.querySelector("form[data-message]");
const refusal = document.querySelector("[data-refusal]");
const pill = document.querySelector("[data-connection]");

let round = 0;
let timer = null;
let pillTimer = null;

function isAtEnd() {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
}

function enrich() {
  for (const place of element.querySelectorAll("[data-rich]")) showRich(place, place.textContent);
}

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

async function refresh() {
  const mine = ++round;
  clearTimeout(timer);
  try {
    const answer = await fetch(element.dataset.url, { headers: { Accept: "text/html" } });
    const html = answer.ok ? await answer.text() : null;
    if (html !== null && mine === round) {
      const wasAtEnd = isAtEnd();
      element.innerHTML = html;
      enrich();
      if (wasAtEnd) toEnd();
    }
  } catch {
    // The next event, or the page itself, shows it.
  }
  waitForWork();
}

// Tasks begin and end in their workspaces' streams, which this page does not follow.
function waitForWork() {
  clearTimeout(timer);
  if (element.querySelector("[data-at-work]")) timer = setTimeout(refresh, WORKING_MS);
}

function refuse(text) {
  if (!refusal) return;
  refusal.textContent = text;
  refusal.hidden = !text;
}

function showChosen() {
  const place = document.querySelector("[data-chosen]");
  const names = [...document.querySelector("[data-files]").files].map((file) => file.name);
  place.textContent = names.join(", ");
  place.hidden = !names.length;
}

document.querySelector("[data-files]")?.addEventListener("change", showChosen);

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const area = form.elements.text;
  const button = document.querySelector('button[form="message-form"]');
  const files = document.querySelector("[data-files]");
  if ((!area.value.trim() && !files.files.length) || button.disabled) return;
  button.disabled = true;
  const problem = await post(form);
  button.disabled = false;
  refuse(problem);
  if (problem) return;
  area.value = "";
  files.value = "";
  showChosen();
  form.elements.key.value = freshKey();
  fit(area);
  await refresh();
  toEnd();
});

element.addEventListener("submit", async (event) => {
  if (!event.target.matches("form[data-press]")) return;
  event.preventDefault();
  refuse(await post(event.target, event.submitter));
});

const stream = new Stream({
  name: element.dataset.stream,
  after: Number(element.dataset.seq),
  address: element.dataset.realtime,
  ticketUrl: element.dataset.ticketUrl,
  form: document.querySelector("form[data-guard]"),
  on: {
    event(envelope) {
      if (envelope.type === "room.changed" && envelope.data.chat_id === element.dataset.room) refresh();
    },
    connected(isConnected) {
      clearTimeout(pillTimer);
      element.dataset.connected = String(isConnected);
      if (isConnected) pill.hidden = true;
      else pillTimer = setTimeout(() => (pill.hidden = false), 800);
    },
    resync: () => location.reload(),
    signedOut: () => location.reload(),
  },
});

enrich();
toEnd();
waitForWork();
stream.start();
window.addEventListener("online", () => stream.hurry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) stream.hurry();
});
window.addEventListener("pagehide", () => stream.stop());
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
