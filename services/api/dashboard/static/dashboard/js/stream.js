// Follows one stream by WebSocket, from a cursor: every durable event once, in order, over any number of connections.

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 10000;
const PING_MS = 20000;
const SILENCE_MS = 50000;

export class Stream {
  #socket = null;
  #waitMs = FIRST_WAIT_MS;
  #retry = null;
  #pulse = null;
  #heardAt = 0;
  #isOver = false;

  // `on` has: event(envelope), connected(isConnected), resync(), signedOut(): the session or its organisation is
  // another one now.
  constructor({ name, after, address, ticketUrl, form, on }) {
    Object.assign(this, { name, after, address, ticketUrl, form, on });
  }

  async start() {
    clearTimeout(this.#retry);
    if (this.#isOver || this.#socket) return;
    const socket = (this.#socket = {});
    let ticket;
    try {
      ticket = await this.#fetchTicket();
    } catch {
      if (this.#socket === socket) this.#drop();
      return;
    }
    if (ticket !== null) this.#open(ticket);
  }

  stop() {
    this.#isOver = true;
    clearTimeout(this.#retry);
    clearInterval(this.#pulse);
    this.#socket?.close?.();
  }

  // Tries at once instead of waiting on: the browser says that the network is back.
  hurry() {
    this.#waitMs = FIRST_WAIT_MS;
    if (!this.#socket) this.start();
  }

  async #fetchTicket() {
    const answer = await fetch(this.ticketUrl, {
      method: "POST", body: new FormData(this.form), headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(10000),
    });
    if (answer.status === 401 || answer.status === 409) {
      this.stop();
      this.on.signedOut();
      return null;
    }
    if (!answer.ok) throw new Error(`ticket: ${answer.status}`);
    return (await answer.json()).ticket;
  }

  #open(ticket) {
    const socket = new WebSocket(`${this.address}/v1/stream?ticket=${encodeURIComponent(ticket)}`);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#heardAt = Date.now();
      socket.send(JSON.stringify({ op: "subscribe", stream: this.name, after: this.after, id: "follow" }));
      this.#pulse = setInterval(() => this.#beat(socket), PING_MS);
    });
    socket.addEventListener("message", (message) => {
      this.#heardAt = Date.now();
      this.#read(socket, JSON.parse(message.data));
    });
    socket.addEventListener("close", () => {
      if (this.#socket === socket) this.#drop();
    });
  }

  #beat(socket) {
    if (Date.now() - this.#heardAt > SILENCE_MS) {
      socket.close();
      this.#drop();
    } else if (socket.readyState === WebSocket.OPEN) {
      socket.send(JSON.stringify({ op: "ping" }));
    }
  }

  #read(socket, frame) {
    if (socket !== this.#socket) return;
    if (frame.op === "ok" && frame.id === "follow") {
      this.#waitMs = FIRST_WAIT_MS;
      this.on.connected(true);
    } else if (frame.op === "resync") {
      this.stop();
      this.on.resync();
    } else if (frame.op === "error" && frame.id === "follow") {
      socket.close();
      this.#drop();
    } else if (frame.op === undefined && frame.stream === this.name) {
      this.#take(socket, frame);
    }
  }

  #take(socket, envelope) {
    if (envelope.seq === null || envelope.seq === undefined) {
      this.on.event(envelope);
    } else if (envelope.seq === this.after + 1) {
      this.after = envelope.seq;
      this.on.event(envelope);
    } else if (envelope.seq > this.after + 1) {
      // Something between is missing: ask again from the cursor rather than show a gap.
      socket.close();
      this.#drop();
    }
  }

  #drop() {
    clearInterval(this.#pulse);
    this.#socket = null;
    if (this.#isOver) return;
    this.on.connected(false);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.start(), this.#waitMs * (0.7 + Math.random() * 0.6));
    this.#waitMs = Math.min(this.#waitMs * 1.8, LONGEST_WAIT_MS);
  }
}
