// A terminal in the workspace's sandbox, over the WebSocket of the realtime service.

import { FitAddon } from "../vendor/xterm/addon-fit.mjs";
import { Terminal } from "../vendor/xterm/xterm.mjs";
import { post } from "./posting.js";

const PING_MS = 20000;
const WAKE_MS = 60000;
const AGAIN_MS = 700;
const place = document.querySelector("[data-terminal]");
const foot = document.querySelector("[data-ended]");
const wakeForm = document.querySelector("form[data-wake]");
const again = document.querySelector("[data-again]");
const encoder = new TextEncoder();

// The page's policy forbids style elements and style attributes that scripts make, and the terminal makes both. Sheets
// and declarations of one's own it allows: so each of the two becomes the other.
const createElement = document.createElement;
document.createElement = (name, ...more) =>
  name === "style" ? adoptedStyle() : createElement.call(document, name, ...more);

function adoptedStyle() {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  const element = createElement.call(document, "span");
  element.hidden = true;
  Object.defineProperty(element, "textContent", { set: (text) => sheet.replaceSync(text) });
  return element;
}

const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const text = of("--text");
  return { background: of("--code-bg"), foreground: text, cursor: text, selectionBackground: of("--line-strong") };
}

const terminal = new Terminal({
  fontFamily: getComputedStyle(place).fontFamily, fontSize: 13, scrollback: 5000,
  theme: colours(), screenReaderMode: matchMedia("(prefers-reduced-motion: reduce)").matches,
});
const fitting = new FitAddon();
terminal.loadAddon(fitting);
terminal.open(place);
fitting.fit();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (terminal.options.theme = colours()));

let socket = null;
let name = null;
let pulse = null;
let wantedUntil = 0;

function send(frame) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
}

function base64(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function end(why, { mayWake = false } = {}) {
  clearInterval(pulse);
  name = null;
  const old = socket;
  socket = null;
  old?.close();
  foot.querySelector('[data-slot="why"]').textContent = why;
  foot.hidden = false;
  wakeForm.hidden = !mayWake;
  again.hidden = mayWake;
}

async function open() {
  foot.hidden = true;
  let ticket;
  try {
    const body = new FormData(document.querySelector("form[data-guard]"));
    const answer = await fetch(place.dataset.ticketUrl, { method: "POST", body, headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(String(answer.status));
    ticket = (await answer.json()).ticket;
  } catch {
    end("The server cannot be reached, or your session has ended.");
    return;
  }
  const own = (socket = new WebSocket(`${place.dataset.realtime}/v1/stream?ticket=${encodeURIComponent(ticket)}`));
  own.addEventListener("open", () => {
    pulse = setInterval(() => send({ op: "ping" }), PING_MS);
    send({
      op: "terminal.open", id: "open", workspace_id: place.dataset.workspace, cols: terminal.cols, rows: terminal.rows,
    });
  });
  own.addEventListener("message", (message) => own === socket && read(JSON.parse(message.data)));
  own.addEventListener("close", () => own === socket && end("The connection was lost; the terminal ended with it."));
}

function read(frame) {
  if (frame.op === "ok" && frame.id === "open") {
    name = frame.terminal;
    wantedUntil = 0;
    terminal.focus();
  } else if (frame.op === "error" && frame.id === "open") {
    refused(frame);
  } else if (frame.op === "terminal.output" && frame.terminal === name) {
    terminal.write(Uint8Array.from(atob(frame.data), (letter) => letter.charCodeAt(0)));
  } else if (frame.op === "terminal.closed" && frame.terminal === name) {
    end(frame.exit_code === null ? "The terminal was closed." : `The shell ended with ${frame.exit_code}.`);
  } else if (frame.op === "error" && name) {
    end(frame.message ?? "The terminal was closed.");
  }
}

function refused({ code, message }) {
  if (code !== "sandbox_not_live") {
    end(message ?? "The terminal cannot be opened.");
  } else if (Date.now() < wantedUntil) {
    end("The sandbox is starting…");
    setTimeout(open, AGAIN_MS);
  } else {
    end(wantedUntil ? "The sandbox does not start." : "The sandbox is asleep.", { mayWake: true });
  }
}

wakeForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = await post(wakeForm);
  if (problem) {
    end(problem, { mayWake: true });
    return;
  }
  wantedUntil = Date.now() + WAKE_MS;
  open();
});
again.addEventListener("click", () => {
  terminal.reset();
  open();
});
terminal.onData((text) => name && send({ op: "terminal.input", terminal: name, data: base64(encoder.encode(text)) }));
terminal.onBinary((text) => name && send({ op: "terminal.input", terminal: name, data: btoa(text) }));
terminal.onResize(({ cols, rows }) => name && send({ op: "terminal.resize", terminal: name, cols, rows }));
new ResizeObserver(() => fitting.fit()).observe(place);
window.addEventListener("pagehide", () => socket?.close());
open();
