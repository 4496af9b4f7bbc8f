// The Inspector's command line: node inspector.mjs URL
// One process per method, so every step is a session of its own.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { countsSessions, report, server, step, tally } from "./steps.mjs";

const RUN_TIMEOUT_MS = 25_000;
const exec = promisify(execFile);
const program = fileURLToPath(new URL("./node_modules/.bin/mcp-inspector", import.meta.url));
// Its catalog and OAuth state go to a folder of this run only.
const home = mkdtempSync(join(tmpdir(), "matrix-inspector-"));
process.on("exit", () => rmSync(home, { recursive: true, force: true }));

async function inspect(...options) {
  const args = [program, "--cli", process.argv[2], "--transport", "http", "--format", "json", ...options];
  const env = { ...process.env, HOME: home };
  const { stdout } = await exec(process.execPath, args, { timeout: RUN_TIMEOUT_MS, killSignal: "SIGKILL", env });
  return JSON.parse(stdout).result;
}

async function call() {
  const { content } = await inspect("--method", "tools/call", "--tool-name", "echo", "--tool-arg", `${server.echo.argument}=grüße ✓`);
  if (content[0].text !== `${server.echo.prefix}grüße ✓`) throw new Error(`got ${JSON.stringify(content)}`);
}

// A process is a session of one call.
if (countsSessions) {
  await tally(() => ({ steps: [["call", call]], end: async () => {} }));
  process.exit(0);
}

await step("connect", async () => (await inspect("--method", "initialize")).protocolVersion);
await step("list", async () => {
  const { tools } = await inspect("--method", "tools/list");
  if (!tools.some((tool) => tool.name === "echo")) throw new Error(`no echo among ${tools.length} tools`);
  return `${tools.length} tools`;
});
await step("call", call);

const CANNOT = {
  progress: "prints the result only",
  notification: "one call per process: nothing is open between calls",
  elicitation: "no one answers on the command line",
  sampling: "no model behind the command line",
  dropped: "asks for no progress, so it cannot tell when its call is under way",
  reset: "asks for no progress, so it cannot tell when its call is under way",
};
for (const [name, cannot] of Object.entries(CANNOT)) report({ step: name, cannot });
report({ step: "close", ok: true, note: "exit 0 three times" });
