// Vercel's AI SDK: node ai_sdk.mjs URL
// A model asks for the tools, as in a program of its users: this one asks for the tool it is told to, and then says
// what the tool gave.
import { createMCPClient, ElicitationRequestSchema } from "@ai-sdk/mcp";
import { generateText, isStepCount } from "ai";
import { MockLanguageModelV4 } from "ai/test";
import { run } from "./steps.mjs";

function modelThatCalls(toolName, input) {
  const usage = { inputTokens: {}, outputTokens: {} };
  const asks = { type: "tool-call", toolCallId: "call-1", toolName, input: JSON.stringify(input) };
  const turns = [
    { content: [asks], finishReason: { unified: "tool-calls" }, usage, warnings: [] },
    { content: [{ type: "text", text: "done" }], finishReason: { unified: "stop" }, usage, warnings: [] },
  ];
  return new MockLanguageModelV4({ doGenerate: turns });
}

await run(() => {
  let client, tools;
  return {
    cannot: {
      progress: "asks for none",
      notification: "shows none",
      sampling: "offers none",
      dropped: "resumes no call",
      reset: "resumes no call",
    },
    async connect(handlers) {
      const transport = { type: "http", url: process.argv[2] };
      client = await createMCPClient({ transport, capabilities: { elicitation: {} } });
      client.onElicitationRequest(ElicitationRequestSchema, (request) => handlers.elicit(request.params));
      return client.serverInfo?.name;
    },
    async listTools() {
      tools = await client.tools();
      return Object.keys(tools);
    },
    async callTool(name, args) {
      const model = modelThatCalls(name, args);
      const { steps } = await generateText({ model, tools, prompt: "call it", stopWhen: isStepCount(2) });
      const [part] = steps[0].content.filter((part) => part.type.startsWith("tool-") && part.type !== "tool-call");
      if (part?.type !== "tool-result") throw part?.error ?? new Error(`no result in ${JSON.stringify(steps[0].content)}`);
      return part.output;
    },
    async close() {
      await client.close();
      return "close() sends DELETE";
    },
  };
});
