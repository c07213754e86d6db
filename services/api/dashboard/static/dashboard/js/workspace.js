// The page of one workspace: joins the conversation to its stream, the composer and the scroll position.

import { drawWhenOpened } from "./card.js";
import { Conversation } from "./conversation.js";
import { fit } from "./page.js";
import { freshKey, post } from "./posting.js";
import { Stream } from "./stream.js";

const NIL = "00000000-0000-0000-0000-000000000000";
const element = document.querySelector("[data-conversation]");
const scroller = document.querySelector("[data-scroll]");
const jump = document.querySelector("[data-jump]");
const promptForm = document.querySelector("form[data-prompt]");
const stopForm = document.querySelector("form[data-stop]");
const refusal = document.querySelector("[data-refusal]");

let isSticking = true;

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

function stick(isWanted) {
  isSticking = isWanted;
  jump.hidden = isWanted;
}

scroller.addEventListener("scroll", () => {
  stick(scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80);
}, { passive: true });
jump.addEventListener("click", () => {
  stick(true);
  toEnd();
});
// Grows with what streams in, with text made rich, and with cards that a reader opens.
new ResizeObserver(() => {
  if (isSticking) toEnd();
}).observe(element);

function showStop() {
  if (!stopForm) return;
  const turn = conversation.unfinished;
  stopForm.hidden = !turn;
  document.querySelector("[data-busy]").hidden = !turn;
  if (turn) stopForm.action = stopForm.dataset.stopUrl.replace(NIL, turn.taskId);
}

// What the workspace is at and waits for is shown above the composer; the server renders it, so that it is asked for anew.
const waits = document.querySelector("[data-waits]");
const USED_MS = 5000;
let waitsAsked = 0;
let waitsTimer = null;

async function showWaits() {
  const round = ++waitsAsked;
  try {
    const answer = await fetch(waits.dataset.url, { headers: { Accept: "text/html" } });
    const html = answer.ok ? await answer.text() : null;
    if (html === null || round !== waitsAsked || waits.contains(writingIn())) return;
    waits.innerHTML = html;
    showUsed();
  } catch {
    // The next event, or the page itself, shows them.
  }
}

// Somebody who writes an answer keeps what they have written.
function writingIn() {
  const field = document.activeElement;
  return field?.matches("input:not([type=hidden])") && field.value ? field : null;
}

function showUsed() {
  for (const line of waits.querySelectorAll("[data-work]")) {
    conversation.turn(line.dataset.work)?.showUsed(line.dataset.tokens, line.dataset.cost);
  }
}

// Events that come in numbers are one question.
function askForWaits() {
  clearTimeout(waitsTimer);
  waitsTimer = setTimeout(showWaits, 150);
}

// Nothing says that a model call has ended; its cost is asked for while somebody looks.
setInterval(() => {
  if (conversation.unfinished && !document.hidden) showWaits();
}, USED_MS);

waits.addEventListener("submit", async (event) => {
  if (!event.target.matches("form[data-answer]")) return;
  event.preventDefault();
  const problem = await post(event.target, event.submitter);
  if (problem && refusal) refuse(problem);
  document.activeElement?.blur();
  await showWaits();
});

const conversation = new Conversation(element, {
  waits: askForWaits,
  shown() {
    showStop();
    if (isSticking) toEnd();
  },
  sandbox(state) {
    const pill = document.querySelector("[data-sandbox]");
    pill.hidden = !state || state === "none";
    pill.querySelector('[data-slot="sandbox"]').textContent = state;
  },
});

conversation.enrich();
drawWhenOpened(element);
toEnd();
setInterval(() => conversation.tick(Date.now()), 1000);

// --- The stream ---------------------------------------------------------------------------------------

const pill = document.querySelector("[data-connection]");
let pillTimer = null;

const stream = new Stream({
  name: element.dataset.stream,
  after: Number(element.dataset.seq),
  address: element.dataset.realtime,
  ticketUrl: element.dataset.ticketUrl,
  form: document.querySelector("form[data-guard]"),
  on: {
    event: (envelope) => conversation.take(envelope),
    connected(isConnected) {
      clearTimeout(pillTimer);
      element.dataset.connected = String(isConnected);
      if (isConnected) {
        conversation.expectReplay();
        pill.hidden = true;
      } else {
        // A short break is nobody's business.
        pillTimer = setTimeout(() => (pill.hidden = false), 800);
      }
    },
    resync: () => location.reload(),
    signedOut: () => location.reload(),
  },
});
stream.start();
window.addEventListener("online", () => stream.hurry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) stream.hurry();
});
window.addEventListener("pagehide", () => stream.stop());
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// --- The composer -------------------------------------------------------------------------------------

function refuse(text) {
  refusal.textContent = text;
  refusal.hidden = !text;
}

promptForm?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const area = promptForm.elements.prompt;
  const button = document.querySelector('button[form="prompt-form"]');
  if (!area.value.trim() || button.disabled) return;
  button.disabled = true;
  const problem = await post(promptForm);
  button.disabled = false;
  refuse(problem);
  if (problem) return;
  area.value = "";
  for (const name of ["model", "budget_usd"]) if (promptForm.elements[name]) promptForm.elements[name].value = "";
  promptForm.elements.key.value = freshKey();
  fit(area);
  stick(true);
  toEnd();
});

stopForm?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = stopForm.querySelector("button");
  button.disabled = true;
  refuse(await post(stopForm));
  button.disabled = false;
});

// An earlier prompt again: as it was, or in the composer to be changed first.
document.querySelector("[data-turn-form]")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  event.submitter.disabled = true;
  refuse(await post(event.target, event.submitter));
  event.submitter.disabled = false;
  stick(true);
});

element.addEventListener("click", (event) => {
  const link = event.target.closest("[data-edit]");
  if (!link) return;
  event.preventDefault();
  const area = promptForm.elements.prompt;
  area.value = conversation.turn(link.closest(".turn").dataset.task).request;
  fit(area);
  area.focus();
});

// A decision shows once its event comes.
element.addEventListener("submit", async (event) => {
  if (!event.target.matches("form[data-decide]")) return;
  event.preventDefault();
  const problem = await post(event.target, event.submitter);
  if (problem && refusal) refuse(problem);
});
