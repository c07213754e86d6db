// One turn on the page: its messages, tool calls, live text and how it ended. It fills the templates that the server
// fills as well (templates/dashboard/conversation/).

import { dollars, milliseconds } from "./formats.js";
import { drawCard } from "./card.js";
import { showRich } from "./rich.js";

const LONGEST_OUTPUT = 200000;
const LONGEST_RICH_LIVE = 30000;
const NIL = "00000000-0000-0000-0000-000000000000";
const WAITING = "waiting until the agent takes it";
const ENDED = new Set(["succeeded", "failed", "cancelled", "expired"]);
const TELLING = ["command", "file_path", "path", "pattern", "query", "url", "name", "prompt", "description"];
const TONES = {
  succeeded: "good", failed: "bad", expired: "bad", running: "live", starting: "live", waiting: "warn", queued: "wait",
};

export function cloneOf(name) {
  return document.querySelector(`template[data-template="${name}"]`).content.firstElementChild.cloneNode(true);
}

export function slot(element, name) {
  return element.querySelector(`[data-slot="${name}"]`);
}

export class Turn {
  #calls = new Map();
  // Cards that were opened here and not by the reader.
  #opened = new Set();
  #live = null;
  #reasoning = null;
  #settledAt = 0;

  constructor(element) {
    this.element = element;
    this.items = slot(element, "items");
    this.taskId = element.dataset.task;
    this.startedAt = element.dataset.started ? Date.parse(element.dataset.started) : null;
    for (const card of element.querySelectorAll("[data-call]")) this.#calls.set(card.dataset.call, card);
  }

  static make(taskId) {
    const element = cloneOf("turn");
    element.dataset.task = taskId;
    const retry = element.querySelector("[data-retry]");
    if (retry) {
      retry.setAttribute("formaction", document.querySelector("[data-turn-form]").dataset.retryUrl.replace(NIL, taskId));
      element.querySelector("[data-edit]").href = `?edit=${taskId}`;
    }
    const turn = new Turn(element);
    turn.show("queued");
    return turn;
  }

  get isFinished() {
    return ENDED.has(this.element.dataset.status);
  }

  show(status) {
    this.element.dataset.status = status;
    slot(this.element, "state").className = `state tone-${TONES[status] ?? "none"}`;
    slot(this.element, "status").textContent = status;
    const retry = this.element.querySelector("[data-retry]");
    if (retry) retry.hidden = !ENDED.has(status);
  }

  start(at) {
    this.startedAt = at;
    this.show("running");
  }

  // Shows how long it is at work already.
  tick(now) {
    if (!this.isFinished && this.startedAt !== null && this.element.dataset.status === "running") {
      const seconds = Math.max(0, Math.floor((now - this.startedAt) / 1000));
      slot(this.element, "duration").textContent = seconds < 60 ? `${seconds} s` : milliseconds(seconds * 1000);
    }
  }

  addMessage(role, text, seq, id) {
    if (role === "assistant") {
      this.#settledAt = seq ?? this.#settledAt;
      this.#dropLive();
      this.#foldReturned();
    }
    const message = cloneOf("message");
    message.classList.add(role);
    message.dataset.role = role;
    const place = slot(message, "text");
    if (role === "assistant") showRich(place, text);
    else place.textContent = text;
    if (id) message.dataset.message = id;
    this.items.append(message);
    if (id && role === "user") this.#tellOf(message, WAITING);
  }

  // A follow-up was taken by the turn, became a turn of its own, where it is told, or was dropped.
  settleMessage(id, state, reason) {
    const message = this.items.querySelector(`[data-message="${CSS.escape(id)}"]`);
    if (!message) return;
    if (state === "moved") message.remove();
    else this.#tellOf(message, state === "dropped" ? `not taken: ${(reason ?? "").replaceAll("_", " ")}` : "");
  }

  // What its calls have used while it is at work.
  showUsed(tokens, cost) {
    if (this.isFinished) return;
    slot(this.element, "tokens").textContent = tokens;
    slot(this.element, "cost").textContent = cost;
  }

  get request() {
    return this.items.querySelector('[data-role="user"] [data-slot="text"]')?.textContent ?? "";
  }

  #tellOf(message, words) {
    const place = slot(message, "state-of");
    place.textContent = words;
    place.hidden = !words;
  }

  // Its writer changed what this turn is asked for, before it began.
  editRequest(text) {
    const asked = this.items.querySelector('[data-role="user"]');
    if (asked) slot(asked, "text").textContent = text;
  }

  // `isWhole`: the text from its beginning, for a page that joined in its middle or comes back.
  addLiveText(text, after, isWhole) {
    if (this.isFinished || after < this.#settledAt) return;
    if (isWhole && this.#live) {
      this.#live.text = "";
      slot(this.#live.element, "text").textContent = "";
    }
    if (!this.#live) {
      const element = cloneOf("message");
      element.classList.add("assistant", "is-streaming");
      element.dataset.role = "assistant";
      this.items.append(element);
      this.#live = { element, text: "" };
    }
    this.#live.text += text;
    const place = slot(this.#live.element, "text");
    if (this.#live.text.length < LONGEST_RICH_LIVE) showRich(place, this.#live.text, { isLive: true });
    else place.append(text);
  }

  addReasoning(text, isWhole) {
    if (this.isFinished) return;
    if (!this.#reasoning) {
      this.#reasoning = cloneOf("reasoning");
      this.items.append(this.#reasoning);
    }
    if (isWhole) slot(this.#reasoning, "text").textContent = "";
    slot(this.#reasoning, "text").append(text);
  }

  callTool(callId, name, input) {
    this.#foldReturned();
    const card = cloneOf("tool");
    card.dataset.call = callId;
    card.dataset.state = "running";
    card.open = true;
    this.#opened.add(card);
    card.querySelector("summary").addEventListener("click", () => this.#opened.delete(card), { once: true });
    slot(card, "name").textContent = shownName(name);
    slot(card, "summary").textContent = summaryOf(input);
    slot(card, "input").textContent = shownInput(input);
    slot(card, "input").hidden = slot(card, "input").textContent === "";
    this.#calls.set(callId, card);
    this.#reasoning = null;
    this.items.append(card);
    return card;
  }

  addToolOutput(callId, text, isWhole) {
    const card = this.#calls.get(callId);
    if (!card || card.dataset.state !== "running") return;
    const output = slot(card, "output");
    if (isWhole) {
      output.textContent = "";
      card.shownChars = 0;
    }
    const isAtEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
    output.append(text);
    output.hidden = false;
    card.shownChars = (card.shownChars ?? 0) + text.length;
    while (card.shownChars > LONGEST_OUTPUT && output.childNodes.length > 1) {
      card.shownChars -= output.firstChild.textContent.length;
      output.firstChild.remove();
    }
    if (isAtEnd) output.scrollTop = output.scrollHeight;
  }

  returnTool(data) {
    const card = this.#calls.get(data.call_id) ?? this.callTool(data.call_id, "Tool", null);
    card.dataset.state = data.is_error ? "failed" : "succeeded";
    const output = slot(card, "output");
    if (output.textContent !== (data.output ?? "")) output.textContent = data.output ?? "";
    output.hidden = !data.output;
    drawCard(card);
    slot(card, "truncated").hidden = !data.truncated;
    slot(card, "end").textContent = `${data.is_error ? "failed · " : ""}${milliseconds(data.duration_ms)}`;
  }

  // The runner has said its last; what streamed and was not made durable by now never will be.
  settle(seq) {
    this.#settledAt = seq;
    this.#dropLive();
  }

  finish(data, at, seq) {
    this.settle(seq);
    this.show(data.status);
    const usage = data.usage ?? {};
    const tokens = (usage.input_tokens ?? 0) + (usage.output_tokens ?? 0);
    slot(this.element, "duration").textContent = this.startedAt === null ? "" : milliseconds(at - this.startedAt);
    slot(this.element, "tokens").textContent = tokens ? `${tokens.toLocaleString("en")} tokens` : "";
    slot(this.element, "cost").textContent = dollars(usage.cost_microusd);
    const error = slot(this.element, "error");
    error.textContent = data.error?.message ?? "";
    error.hidden = !data.error || data.status === "cancelled";
    for (const card of this.#calls.values()) {
      if (card.dataset.state === "running") {
        card.dataset.state = "stopped";
        slot(card, "end").textContent = "stopped";
      }
    }
    if (data.text && this.#calls.size === 0 && !this.items.querySelector('[data-role="assistant"]')) {
      this.addMessage("assistant", data.text, seq);
    }
  }

  refuse(data, decision) {
    const place = `${data.method} ${data.host}:${data.port}`;
    const key = `${place} ${data.reason}`;
    let row = this.items.querySelector(`[data-refused="${CSS.escape(key)}"]`);
    if (!row) {
      row = cloneOf("refusal");
      row.dataset.refused = key;
      slot(row, "place").textContent = place;
      slot(row, "why").textContent = data.reason.replaceAll("_", " ");
      this.items.append(row);
    }
    slot(row, "times").textContent = data.count > 1 ? `${data.count} times` : "";
    row.dataset.approval = data.approval_id ?? "";
    const form = slot(row, "decide");
    if (form && data.approval_id) form.action = form.dataset.url.replace(NIL, data.approval_id);
    showDecision(row, data.approval_id ? decision : "");
  }

  decide(approvalId, decision) {
    for (const row of this.items.querySelectorAll(`[data-approval="${CSS.escape(approvalId)}"]`)) showDecision(row, decision);
  }

  showDelivery({ delivery_id: id, status, error }) {
    const place = slot(this.element, "deliveries");
    let line = place.querySelector(`[data-delivery="${CSS.escape(id)}"]`);
    if (!line) {
      line = document.createElement("span");
      line.className = "delivery";
      line.dataset.delivery = id;
      place.append(line);
    }
    line.textContent = `delivery ${status}${error ? `: ${error}` : ""}`;
  }

  #foldReturned() {
    for (const card of this.#opened) {
      if (card.dataset.state === "running") continue;
      card.open = false;
      this.#opened.delete(card);
    }
  }

  #dropLive() {
    this.#live?.element.remove();
    this.#live = null;
    this.#reasoning = null;
  }
}

function showDecision(row, decision) {
  row.dataset.decision = decision;
  slot(row, "decided").textContent = decision === "pending" ? "" : decision;
  const form = slot(row, "decide");
  if (form) form.hidden = decision !== "pending";
}

function shownName(name) {
  const parts = /^mcp__(.+?)__(.+)$/s.exec(name);
  return parts ? `${parts[1]}: ${parts[2]}` : name;
}

function shownInput(input) {
  if (input === null || input === undefined) return "";
  if (typeof input === "string") return input;
  if (Object.keys(input).length === 1 && typeof input.command === "string") return input.command;
  return JSON.stringify(sorted(input), null, 2);
}

// Sorted, because the database keeps no order of keys and a reload must not change what one reads.
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

function summaryOf(input) {
  let text = input;
  if (input && typeof input === "object" && !Array.isArray(input)) {
    const keys = Object.keys(input).sort().filter((key) => typeof input[key] === "string" && input[key]);
    text = input[TELLING.find((key) => keys.includes(key)) ?? keys[0]] ?? "";
  }
  if (typeof text !== "string") return "";
  return (text.split("\n").map((line) => line.trim()).find(Boolean) ?? "").slice(0, 160);
}
