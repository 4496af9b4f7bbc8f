// The steps of the matrix for the Node drivers. Each driver hands in a function that makes clients, each behind a
// small interface and for one session:
//
//   connect(handlers) -> note        handlers: { log(params), elicit(params) -> result, sample(params) -> result }
//   listTools() -> [name]
//   callTool(name, args, onProgress?) -> result
//   close() -> note
//
// and, of a client that cannot do all of it, `cannot`: a reason by step.
//
// Every step prints one JSON line on stdout: { step, ok, note }. What a client says on stderr is for people.
//
// With MODE=sessions there are no steps but SESSIONS sessions, AT_ONCE of them at the same time, and one line in the
// end: { sessions, calls, failures, first }.

import { readFileSync } from "node:fs";

const STEP_TIMEOUT_MS = 30_000;
// What the server under test calls its tools: MATRIX_SERVER names an entry of servers.json.
export const server = JSON.parse(readFileSync(new URL("./servers.json", import.meta.url)))[process.env.MATRIX_SERVER ?? "everything"];
// server-everything's simulated log comes every five seconds; the first of them is sent during the call
// that switches it on, so only what comes later than this after the call's answer counts as unrelated.
const OUTSIDE_A_CALL_MS = 1_000;

const CALLS_PER_SESSION = 3;

export function report(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

function check(condition, message) {
  if (!condition) throw new Error(message);
}

function withTimeout(promise, what) {
  let timer;
  const expiry = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no result after ${STEP_TIMEOUT_MS} ms`)), STEP_TIMEOUT_MS);
  });
  return Promise.race([promise, expiry]).finally(() => clearTimeout(timer));
}

// Runs one step and says how it went; a failed step does not stop the later ones.
export async function step(name, run) {
  try {
    report({ step: name, ok: true, note: (await withTimeout(run(), name)) ?? "" });
    return true;
  } catch (error) {
    const cause = error.cause ? ` (${error.cause.message ?? error.cause})` : "";
    report({ step: name, ok: false, note: `${error.message}${cause}` });
    return false;
  }
}

export function textOf(result) {
  check(!result.isError, `tool error: ${JSON.stringify(result.content)}`);
  return result.content.map((item) => item.text ?? "").join("\n");
}

// What the client has been sent, and who is waiting for the next log message or change of the tools.
class Inbox {
  waiter = null;
  asked = { elicitation: 0, sampling: 0 };

  handlers() {
    return {
      log: () => this.waiter?.(),
      elicit: () => {
        this.asked.elicitation += 1;
        return { action: "accept", content: { name: "Nora Matrix", check: true, answer: "Nora Matrix" } };
      },
      sample: () => {
        this.asked.sampling += 1;
        return { role: "assistant", model: "matrix-model", stopReason: "endTurn", content: { type: "text", text: "sampled by the matrix" } };
      },
    };
  }

  nextLog() {
    return new Promise((resolve) => {
      this.waiter = resolve;
    });
  }
}

async function list(client) {
  const names = await client.listTools();
  check(names.includes("echo"), `no echo among ${names.join(", ")}`);
  return `${names.length} tools`;
}

async function call(client) {
  const text = textOf(await client.callTool("echo", { [server.echo.argument]: "grüße ✓" }));
  check(text === `${server.echo.prefix}grüße ✓`, `got ${text}`);
}

// Longer than a server keeps silent: by then the answer is a stream.
async function slow(client) {
  const { tool, slow, says } = server.long;
  const text = textOf(await client.callTool(tool, slow));
  check(text.includes(says), `got ${text}`);
  return "and a slow one";
}

async function progress(client) {
  const seen = [];
  const { tool, quick, says } = server.long;
  const text = textOf(await client.callTool(tool, quick, (p) => seen.push(p.progress)));
  check(text.includes(says), `got ${text}`);
  check(JSON.stringify(seen) === "[1,2,3,4]", `progress seen: ${JSON.stringify(seen)}`);
  return "4 of 4 in order";
}

async function notification(client, inbox) {
  const { tool, toggles } = server.notification;
  let told = inbox.nextLog();
  await client.callTool(tool, {});
  if (toggles) {
    await new Promise((resolve) => setTimeout(resolve, OUTSIDE_A_CALL_MS));
    told = inbox.nextLog();
  }
  await told;
  if (toggles) await client.callTool(tool, {});
}

async function elicitation(client, inbox) {
  const text = textOf(await client.callTool(server.elicitation, {}));
  check(inbox.asked.elicitation === 1, `asked ${inbox.asked.elicitation} times`);
  check(text.includes("Nora Matrix"), `the answer is not in ${text}`);
}

async function sampling(client, inbox) {
  const text = textOf(await client.callTool(server.sampling, { prompt: "hello", maxTokens: 20 }));
  check(inbox.asked.sampling === 1, `asked ${inbox.asked.sampling} times`);
  check(text.includes("sampled by the matrix"), `the answer is not in ${text}`);
}

// Asks the harness to cut every connection after the first progress of a long call, and waits for the call.
async function cut(client, how) {
  let seen = 0;
  const result = await client.callTool(server.long.tool, server.long.slow, () => {
    seen += 1;
    if (seen === 1) report({ step: "cut-now", how });
  });
  check(textOf(result).includes(server.long.says), `got ${JSON.stringify(result)}`);
  await call(client);
  return `result arrived, ${seen} of 4 progress`;
}

// Counts how sessions go; the first call that fails is a session's last.
class Tally {
  sessions = 0;
  calls = 0;
  failures = 0;
  first = null;

  async session({ steps, end }) {
    const number = ++this.sessions;
    for (const [name, run] of steps) {
      this.calls += 1;
      try {
        await withTimeout(run(), name);
      } catch (error) {
        this.failures += 1;
        this.first ??= `session ${number}, ${name}: ${error.message}`;
        await end().catch(() => {});
        return;
      }
    }
  }
}

// `open()` gives a session: { steps: [[name, function]], end: function }; `end` is called after a failure.
export async function tally(open) {
  const counts = new Tally();
  let left = Number(process.env.SESSIONS);
  const one = async () => {
    while (left-- > 0) await counts.session(open());
  };
  await Promise.all(Array.from({ length: Number(process.env.AT_ONCE) }, one));
  report(counts);
}

function sessionOf(client) {
  const calls = Array.from({ length: CALLS_PER_SESSION }, () => ["call", () => call(client)]);
  const connect = () => client.connect(new Inbox().handlers());
  const end = async () => client.close();
  return { steps: [["connect", connect], ["list", () => list(client)], ...calls, ["close", end]], end };
}

export const countsSessions = process.env.MODE === "sessions";

export async function run(open) {
  if (countsSessions) await tally(() => sessionOf(open()));
  else await runSteps(open());
  // A client that keeps a socket or a timer alive must not keep the driver.
  process.exit(0);
}

async function runSteps(client) {
  const inbox = new Inbox();
  const cannot = { ...(server.sampling ? {} : { sampling: "the server asks for none" }), ...client.cannot };
  const steps = {
    list: () => list(client),
    // The other clients' slow calls are those that show progress.
    call: async () => (await call(client)) ?? (cannot.progress && (await slow(client))),
    progress: () => progress(client),
    notification: () => notification(client, inbox),
    elicitation: () => elicitation(client, inbox),
    sampling: () => sampling(client, inbox),
    dropped: () => cut(client, "fin"),
    reset: () => cut(client, "rst"),
    close: () => client.close(),
  };
  if (!(await step("connect", () => client.connect(inbox.handlers())))) return;
  for (const [name, run] of Object.entries(steps)) {
    if (cannot[name]) report({ step: name, cannot: cannot[name] });
    else await step(name, run);
  }
}
