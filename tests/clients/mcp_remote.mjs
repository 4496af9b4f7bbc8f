// mcp-remote, the bridge from stdio to HTTP: node mcp_remote.mjs URL
// The driver is the stdio host: it speaks JSON-RPC over the bridge's stdin and stdout.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runSteps } from "./steps.mjs";

const PROTOCOL_VERSION = "2025-11-25";
const EXIT_TIMEOUT_MS = 5_000;

const program = fileURLToPath(new URL("./node_modules/.bin/mcp-remote", import.meta.url));
// Its lock and token files go to a folder of this run only.
const configDir = mkdtempSync(join(tmpdir(), "matrix-mcp-remote-"));
const bridge = spawn(process.execPath, [program, process.argv[2], "--allow-http", "--transport", "http-only"], {
  stdio: ["pipe", "pipe", "inherit"],
  env: { ...process.env, MCP_REMOTE_CONFIG_DIR: configDir },
});
const exited = new Promise((resolve) => bridge.once("exit", (code, signal) => resolve(signal ?? `exit ${code}`)));
process.on("exit", () => {
  bridge.kill("SIGKILL");
  rmSync(configDir, { recursive: true, force: true });
});

const calls = new Map();
const progressOf = new Map();
let handlers;
let lastId = 0;

function send(message) {
  bridge.stdin.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n");
}

function request(method, params, onProgress) {
  const id = ++lastId;
  if (onProgress) {
    progressOf.set(id, onProgress);
    params = { ...params, _meta: { progressToken: id } };
  }
  send({ id, method, params });
  return new Promise((resolve, reject) => calls.set(id, { resolve, reject }));
}

function answer(id, method, params) {
  if (method === "elicitation/create") send({ id, result: handlers.elicit(params) });
  else if (method === "sampling/createMessage") send({ id, result: handlers.sample(params) });
  else if (method === "ping") send({ id, result: {} });
  else send({ id, error: { code: -32601, message: `no method ${method}` } });
}

function receive({ id, method, params, result, error }) {
  if (method && id !== undefined) answer(id, method, params);
  else if (method === "notifications/progress") progressOf.get(params.progressToken)?.(params);
  else if (method === "notifications/message" || method === "notifications/tools/list_changed") handlers.log(params);
  else if (!method && error) calls.get(id)?.reject(new Error(`${error.code} ${error.message}`));
  else if (!method) calls.get(id)?.resolve(result);
}

createInterface({ input: bridge.stdout }).on("line", (line) => receive(JSON.parse(line)));

await runSteps({
  async connect(given) {
    handlers = given;
    const clientInfo = { name: "matrix-mcp-remote", version: "1.0.0" };
    const capabilities = { sampling: {}, elicitation: {} };
    const gone = exited.then((how) => Promise.reject(new Error(`mcp-remote ended: ${how}`)));
    const opened = request("initialize", { protocolVersion: PROTOCOL_VERSION, capabilities, clientInfo });
    const { protocolVersion } = await Promise.race([opened, gone]);
    send({ method: "notifications/initialized" });
    return protocolVersion;
  },
  listTools: async () => (await request("tools/list", {})).tools.map((tool) => tool.name),
  callTool: (name, args, onProgress) => request("tools/call", { name, arguments: args }, onProgress),
  async close() {
    bridge.stdin.end();
    const timeout = new Promise((resolve) => setTimeout(resolve, EXIT_TIMEOUT_MS, "still running"));
    let how = await Promise.race([exited, timeout]);
    if (how === "still running") {
      bridge.kill("SIGTERM");
      how = `ignored the end of its stdin; SIGTERM: ${await exited}`;
    }
    return how;
  },
});
