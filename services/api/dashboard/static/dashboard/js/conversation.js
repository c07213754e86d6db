// The conversation on the page: takes envelopes as they come and shows them once per frame, however many there are.

import { showRich } from "./rich.js";
import { Turn } from "./turn.js";

const REPLAY_MS = 2000;
const WAITS_TYPES = new Set([
  "task.queued", "task.started", "task.waiting", "task.resumed", "task.finished", "turn.started", "question.asked",
  "question.answered", "approval.requested", "approval.agreed", "approval.decided",
]);
const LIVE_TYPES = new Set(["text.delta", "tool.output", "reasoning.delta"]);

export class Conversation {
  #turns = new Map();
  #waiting = [];
  #isScheduled = false;
  #lastLive = { after: -1, part: -1 };
  #replayEnds = 0;
  #decisions = new Map();

  // `on` has: shown(), sandbox(state), waits(): what waits for whom has changed.
  constructor(element, on) {
    this.element = element;
    this.on = on;
    for (const section of element.querySelectorAll(".turn")) this.#turns.set(section.dataset.task, new Turn(section));
  }

  // Makes rich text of what the server sent as it is; the end, which is looked at first, at once.
  enrich() {
    const places = [...this.element.querySelectorAll("[data-rich]")];
    const enrichOne = (place) => showRich(place, place.textContent);
    places.splice(-40).forEach(enrichOne);
    const goOn = () => {
      places.splice(-40).forEach(enrichOne);
      if (places.length) setTimeout(goOn, 16);
    };
    if (places.length) setTimeout(goOn, 16);
  }

  get unfinished() {
    for (const turn of this.#turns.values()) if (!turn.isFinished) return turn;
    return null;
  }

  take(envelope) {
    if (envelope.is_whole) {
      this.#lastLive = { after: envelope.after, part: envelope.part };
    } else if (LIVE_TYPES.has(envelope.type)) {
      if (!this.#isNews(envelope) || this.#joinsLast(envelope)) return;
    }
    this.#waiting.push(envelope);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // A hidden page draws no frames; its events must not pile up.
    if (document.hidden) setTimeout(() => this.#show(), 200);
    else requestAnimationFrame(() => this.#show());
  }

  turn(taskId) {
    return this.#turns.get(taskId) ?? null;
  }

  tick(now) {
    for (const turn of this.#turns.values()) turn.tick(now);
  }

  // To be called for each new connection.
  expectReplay() {
    this.#replayEnds = Date.now() + REPLAY_MS;
  }

  // Right after a reconnect the last live parts may come a second time. At other times a smaller number only says
  // that a restarted gateway counts from one again.
  #isNews({ after, part }) {
    if (after === undefined || part === undefined) return true;
    const last = this.#lastLive;
    const isRepeat = after < last.after || (after === last.after && part <= last.part);
    if (isRepeat && Date.now() < this.#replayEnds) return false;
    this.#lastLive = { after, part };
    return true;
  }

  #joinsLast(envelope) {
    const last = this.#waiting.at(-1);
    const isSame = last && last.type === envelope.type && last.task_id === envelope.task_id
      && last.data.call_id === envelope.data.call_id;
    if (isSame) last.data = { ...last.data, text: last.data.text + envelope.data.text };
    return Boolean(isSame);
  }

  #show() {
    this.#isScheduled = false;
    const envelopes = this.#waiting;
    this.#waiting = [];
    for (const envelope of envelopes) this.#apply(envelope);
    this.on.shown();
  }

  #apply(envelope) {
    const { type, data, seq, task_id: taskId, at } = envelope;
    if (type === "sandbox.changed") {
      this.on.sandbox(data.state);
      return;
    }
    if (WAITS_TYPES.has(type)) this.on.waits();
    if (type === "approval.decided") {
      this.#decisions.set(data.approval_id, data.status);
      for (const turn of this.#turns.values()) turn.decide(data.approval_id, data.status);
      return;
    }
    if (!taskId || type.startsWith("question.") || type.startsWith("approval.")) return;
    const turn = LIVE_TYPES.has(type) ? this.#turns.get(taskId) : this.#turnOf(taskId);
    if (!turn) return;
    if (type === "task.started") turn.start(Date.parse(at));
    else if (type === "task.waiting") turn.show("waiting");
    else if (type === "task.resumed") turn.show("running");
    else if (type === "message.created") turn.addMessage(data.role, data.text, seq, data.id);
    else if (type === "message.edited") turn.editRequest(data.text);
    else if (type === "message.consumed") turn.settleMessage(data.id, "taken", "");
    else if (type === "message.settled") turn.settleMessage(data.id, data.state, data.reason);
    else if (type === "text.delta") turn.addLiveText(data.text, envelope.after ?? Infinity, envelope.is_whole);
    else if (type === "reasoning.delta") turn.addReasoning(data.text, envelope.is_whole);
    else if (type === "tool.called") turn.callTool(data.call_id, data.name, data.input);
    else if (type === "tool.output") turn.addToolOutput(data.call_id, data.text, envelope.is_whole);
    else if (type === "tool.returned") turn.returnTool(data);
    else if (type === "egress.refused") turn.refuse(data, this.#decisions.get(data.approval_id) ?? "pending");
    else if (type === "turn.done") turn.settle(seq);
    else if (type === "task.finished") turn.finish(data, Date.parse(at), seq);
    else if (type === "delivery.changed") turn.showDelivery(data);
  }

  #turnOf(taskId) {
    let turn = this.#turns.get(taskId);
    if (!turn) {
      turn = Turn.make(taskId);
      this.#turns.set(taskId, turn);
      this.element.querySelector("[data-empty]")?.remove();
      this.element.append(turn.element);
    }
    return turn;
  }
}

