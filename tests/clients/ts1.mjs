// TypeScript SDK 1.x: node ts1.mjs URL
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { run } from "./steps.mjs";

const capabilities = { sampling: {}, elicitation: {} };

await run(() => {
  const client = new Client({ name: "matrix-ts1", version: "1.0.0" }, { capabilities });
  const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));
  return {
    async connect(handlers) {
      client.setRequestHandler(ElicitRequestSchema, (request) => handlers.elicit(request.params));
      client.setRequestHandler(CreateMessageRequestSchema, (request) => handlers.sample(request.params));
      client.setNotificationHandler(ToolListChangedNotificationSchema, (message) => handlers.log(message.params));
      client.setNotificationHandler(LoggingMessageNotificationSchema, (message) => handlers.log(message.params));
      await client.connect(transport);
      return transport.protocolVersion;
    },
    listTools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    callTool: (name, args, onprogress) => client.callTool({ name, arguments: args }, CallToolResultSchema, { onprogress }),
    async close() {
      // Its close() alone sends no DELETE.
      await transport.terminateSession();
      await client.close();
      return "terminateSession()";
    },
  };
});
