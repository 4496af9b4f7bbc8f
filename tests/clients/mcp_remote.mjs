// mcp-remote, the bridge from stdio to HTTP: node mcp_remote.mjs URL
// The driver is the stdio host: it speaks JSON-RPC over the bridge's stdin and stdout.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "./steps.mjs";

const PROTOCOL_VERSION = "2025-11-25";
const EXIT_TIMEOUT_MS = 5_000;

const program = fileURLToPath(new URL("./node_modules/.bin/mcp-remote", import.meta.url));

// One bridge process with a session of its own.
class Bridge {
  calls = new Map();
  progressOf = new Map();
  lastId = 0;

  start() {
    // Its lock and token files go to a folder of this session only.
    const configDir = mkdtempSync(join(tmpdir(), "matrix-mcp-remote-"));
    this.process = spawn(process.execPath, [program, process.argv[2], "--allow-http", "--transport", "http-only"], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, MCP_REMOTE_CONFIG_DIR: configDir },
    });
    this.exited = new Promise((resolve) => this.process.once("exit", (code, signal) => resolve(signal ?? `exit ${code}`)));
    const tidy = () => {
      this.process.kill("SIGKILL");
      rmSync(configDir, { recursive: true, force: true });
    };
    process.once("exit", tidy);
    this.exited.then(() => process.off("exit", tidy)).then(tidy);
    // What is written to a bridge that has ended fails with its call.
    this.process.stdin.on("error", () => {});
    createInterface({ input: this.process.stdout }).on("line", (line) => this.receive(JSON.parse(line)));
  }

  send(message) {
    this.process.stdin.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\n");
  }

  request(method, params, onProgress) {
    const id = ++this.lastId;
    if (onProgress) {
      this.progressOf.set(id, onProgress);
      params = { ...params, _meta: { progressToken: id } };
    }
    this.send({ id, method, params });
    return new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }));
  }

  answer(id, method, params) {
    if (method === "elicitation/create") this.send({ id, result: this.handlers.elicit(params) });
    else if (method === "sampling/createMessage") this.send({ id, result: this.handlers.sample(params) });
    else if (method === "ping") this.send({ id, result: {} });
    else this.send({ id, error: { code: -32601, message: `no method ${method}` } });
  }

  receive({ id, method, params, result, error }) {
    if (method && id !== undefined) this.answer(id, method, params);
    else if (method === "notifications/progress") this.progressOf.get(params.progressToken)?.(params);
    else if (method === "notifications/message" || method === "notifications/tools/list_changed") this.handlers.log(params);
    else if (!method && error) this.calls.get(id)?.reject(new Error(`${error.code} ${error.message}`));
    else if (!method) this.calls.get(id)?.resolve(result);
  }

  async connect(handlers) {
    this.handlers = handlers;
    this.start();
    const clientInfo = { name: "matrix-mcp-remote", version: "1.0.0" };
    const capabilities = { sampling: {}, elicitation: {} };
    const gone = this.exited.then((how) => Promise.reject(new Error(`mcp-remote ended: ${how}`)));
    const opened = this.request("initialize", { protocolVersion: PROTOCOL_VERSION, capabilities, clientInfo });
    const { protocolVersion } = await Promise.race([opened, gone]);
    gone.catch(() => {});
    this.send({ method: "notifications/initialized" });
    return protocolVersion;
  }

  async listTools() {
    return (await this.request("tools/list", {})).tools.map((tool) => tool.name);
  }

  callTool(name, args, onProgress) {
    return this.request("tools/call", { name, arguments: args }, onProgress);
  }

  async close() {
    this.process.stdin.end();
    const timeout = new Promise((resolve) => setTimeout(resolve, EXIT_TIMEOUT_MS, "still running"));
    let how = await Promise.race([this.exited, timeout]);
    if (how === "still running") {
      this.process.kill("SIGTERM");
      how = `ignored the end of its stdin; SIGTERM: ${await this.exited}`;
    }
    return how;
  }
}

await run(() => new Bridge());
