/**
 * A client of Slipway's API. Its types are made from the API's own description, so what it takes and gives is checked
 * when it is compiled.
 *
 *     const slipway = createSlipway({ url: "https://slipway.example", token: "sw_…" });
 *     const { data, error } = await slipway.api.POST("/tasks", { body: { prompt: "Say hello.", agent_id } });
 *     const task = await slipway.run({ prompt: "Say hello.", agent_id }, (event) => console.log(event.type));
 */
import createClient, { type Client, type Middleware } from "openapi-fetch";

import type { components, paths } from "./api.js";

export type { components, paths } from "./api.js";
export type Task = components["schemas"]["TaskShape"];
export type TaskOrder = components["schemas"]["TaskBody"];

/** One event of a stream. Live ones have no `seq`; `resync` says that what came before `data.oldest` is not kept. */
export interface SlipwayEvent {
  stream: string;
  type: string;
  seq?: number;
  at?: string;
  task_id?: string | null;
  turn?: number | null;
  is_whole?: boolean;
  data: Record<string, unknown>;
}

/** The server's refusal. `code` is stable, and what a program decides by. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string,
  ) {
    super(`${message} (${code})`);
    this.name = "ApiError";
  }
}

export interface Options {
  url: string;
  token: string;
  /** How often a call is made in all; those that can be made twice without harm. */
  attempts?: number;
  fetch?: typeof globalThis.fetch;
}

export interface Slipway {
  /** Every operation of the API, typed. */
  api: Client<paths>;
  /** The events of a stream: durable ones each once, in order, over any number of connections. */
  events(stream: string, options?: { after?: number; signal?: AbortSignal }): AsyncGenerator<SlipwayEvent>;
  /** Submit a task, follow it to its end and return it. */
  run(order: TaskOrder, onEvent?: (event: SlipwayEvent) => void): Promise<Task>;
}

const LONGEST_WAIT_MS = 60_000;
const SAFE = new Set(["GET", "HEAD", "PUT", "DELETE"]);
const PASSING = new Set([429, 502, 503, 504]);

export function createSlipway(options: Options): Slipway {
  const url = options.url.replace(/\/+$/, "");
  const send = retrying(options.fetch ?? globalThis.fetch, options.attempts ?? 5);
  const api = createClient<paths>({ baseUrl: `${url}/v1`, fetch: send });
  api.use(authorized(options.token));
  let realtime: string | undefined;

  async function realtimeUrl(): Promise<string> {
    if (realtime === undefined) {
      const answer = await checked(await send(new Request(`${url}/.well-known/slipway`)));
      const found = (await answer.json()) as { realtime_url: string };
      realtime = found.realtime_url.replace(/^ws/, "http").replace(/\/+$/, "");
    }
    return realtime;
  }

  async function* events(
    stream: string,
    { after, signal }: { after?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<SlipwayEvent> {
    let cursor = after;
    for (let tried = 0; ; tried += 1) {
      try {
        for await (const event of connection(stream, cursor, signal)) {
          tried = 0;
          if (event.type === "resync") cursor = Number(event.data["oldest"]) - 1;
          else if (event.seq !== undefined) {
            if (cursor !== undefined && event.seq <= cursor) continue;
            // Never with a server that keeps its promise; asking again from the cursor heals it.
            if (cursor !== undefined && event.seq > cursor + 1) break;
            cursor = event.seq;
          }
          yield event;
        }
      } catch (error) {
        if (signal?.aborted || (error instanceof ApiError && !PASSING.has(error.status))) throw error;
      }
      await pause(Math.min(200 * 2 ** tried, 10_000) * (0.5 + Math.random() / 2));
    }
  }

  async function* connection(stream: string, after?: number, signal?: AbortSignal): AsyncGenerator<SlipwayEvent> {
    const query = new URLSearchParams({ stream, ...(after === undefined ? {} : { after: String(after) }) });
    const abort = new AbortController();
    const stop = () => abort.abort(signal?.reason);
    signal?.addEventListener("abort", stop);
    const headers = { Authorization: `Bearer ${options.token}`, Accept: "text/event-stream" };
    const base = await realtimeUrl();
    try {
      const answer = await checked(
        await (options.fetch ?? globalThis.fetch)(`${base}/v1/events?${query}`, { headers, signal: abort.signal }),
      );
      const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const frames = (rest + value).split("\n\n");
        rest = frames.pop() ?? "";
        for (const frame of frames) {
          const data = frame.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
          if (data.length > 0) yield toEvent(JSON.parse(data.join("\n")), stream);
        }
      }
    } finally {
      signal?.removeEventListener("abort", stop);
      abort.abort();
    }
  }

  async function run(order: TaskOrder, onEvent: (event: SlipwayEvent) => void = () => {}): Promise<Task> {
    let after: number | undefined;
    if (order.workspace_id) {
      // What was before this task in its workspace is not looked through.
      const path = { workspace_id: order.workspace_id };
      const page = await api.GET("/workspaces/{workspace_id}/events", { params: { path, query: { limit: 1 } } });
      after = given(page).head;
    }
    const task = given(await api.POST("/tasks", { body: order }));
    for await (const event of events(`workspace:${task.workspace_id}`, { after })) {
      if (event.task_id !== task.id) continue;
      onEvent(event);
      if (event.type === "task.finished") break;
    }
    return given(await api.GET("/tasks/{task_id}", { params: { path: { task_id: task.id } } }));
  }

  return { api, events, run };
}

/** Return what an answer of `api` holds. Throws an ApiError for a refusal. */
export function given<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.error !== undefined || answer.data === undefined) throw refusal(answer.response.status, answer.error);
  return answer.data;
}

function authorized(token: string): Middleware {
  return {
    onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${token}`);
      // Under a key of its own a repeat does nothing twice.
      if (request.method === "POST" && !request.headers.has("Idempotency-Key")) {
        request.headers.set("Idempotency-Key", crypto.randomUUID());
      }
      return request;
    },
  };
}

function retrying(fetch: typeof globalThis.fetch, attempts: number): (request: Request) => Promise<Response> {
  return async (request) => {
    for (let tried = 1; ; tried += 1) {
      const isHarmless = SAFE.has(request.method) || request.headers.has("Idempotency-Key");
      const jitter = Math.random() * Math.min(500 * 2 ** tried, LONGEST_WAIT_MS);
      try {
        const answer = await fetch(request.clone());
        const mayPass = PASSING.has(answer.status) && (isHarmless || answer.status === 429);
        const asked = Number(answer.headers.get("Retry-After") ?? "0") * 1_000;
        if (!mayPass || tried >= attempts || !(asked <= LONGEST_WAIT_MS)) return answer;
        await answer.body?.cancel();
        await pause(asked > 0 ? asked + Math.min(jitter, 1_000) : jitter);
      } catch (error) {
        if (!isHarmless || tried >= attempts || request.signal.aborted) throw error;
        await pause(jitter);
      }
    }
  };
}

async function checked(answer: Response): Promise<Response> {
  if (answer.ok) return answer;
  throw refusal(answer.status, await answer.json().catch(() => undefined));
}

function refusal(status: number, body: unknown): ApiError {
  const said = (body as { error?: { code?: string; message?: string; request_id?: string } } | undefined)?.error;
  const message = said?.message ?? `The server answered ${status}.`;
  return new ApiError(status, said?.code ?? `http_${status}`, message, said?.request_id ?? "");
}

function toEvent(raw: SlipwayEvent & { op?: string; oldest?: number }, stream: string): SlipwayEvent {
  return raw.op === "resync" ? { stream, type: "resync", data: { oldest: raw.oldest } } : raw;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
