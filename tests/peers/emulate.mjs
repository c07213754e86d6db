// Runs emulators as one process: reads which, with their seeds, as JSON from its input, and prints their addresses as JSON.
import { createEmulator } from "emulate";
import { readdirSync, readFileSync } from "node:fs";

const { services, slackEvents } = JSON.parse(readFileSync(0, "utf8"));

// The Slack emulator signs and sends events, but has no way to be told where to: what tells it is within its register().
async function subscribeSlack(url) {
  const dist = new URL("./", import.meta.resolve("emulate"));
  for (const file of readdirSync(dist).filter((name) => /^dist-.*\.js$/.test(name))) {
    const source = readFileSync(new URL(file, dist), "utf8");
    if (!source.includes("var slackPlugin =")) continue;
    const { slackPlugin } = await import(new URL(file, dist));
    const register = slackPlugin.register.bind(slackPlugin);
    slackPlugin.register = (app, store, webhooks, ...rest) => {
      webhooks.register({ url, events: ["*"], active: true, owner: "slack" });
      return register(app, store, webhooks, ...rest);
    };
  }
}

if (slackEvents) await subscribeSlack(slackEvents);
const running = {};
for (const [service, { port, seed }] of Object.entries(services)) {
  running[service] = (await createEmulator({ service, port, seed })).url;
}
console.log(JSON.stringify(running));
