// Uses the built TypeScript client against a served API, and says in one line of JSON what it saw.
import process from "node:process";

const { ApiError, createSlipway, given } = await import(process.env.CLIENT);
const slipway = createSlipway({ url: process.env.SLIPWAY_URL, token: process.env.SLIPWAY_TOKEN });

const { items } = given(await slipway.api.GET("/agents"));
const path = { task_id: "00000000-0000-7000-8000-000000000000" };
let refused = null;
try {
  given(await slipway.api.GET("/tasks/{task_id}", { params: { path } }));
} catch (error) {
  if (!(error instanceof ApiError)) throw error;
  refused = { status: error.status, code: error.code };
}
const seen = [];
const task = await slipway.run({ prompt: "say hello", agent_id: items[0].id }, (event) => {
  if (event.seq !== undefined) seen.push([event.seq, event.type]);
});
console.log(JSON.stringify({ refused, seen, task }));
