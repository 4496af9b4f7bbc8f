// TypeScript client 2.x: node ts2.mjs URL
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { run } from "./steps.mjs";

const capabilities = { sampling: {}, elicitation: {} };

await run(() => {
  const client = new Client({ name: "matrix-ts2", version: "1.0.0" }, { capabilities });
  const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));
  return {
    async connect(handlers) {
      client.setRequestHandler("elicitation/create", (request) => handlers.elicit(request.params));
      client.setRequestHandler("sampling/createMessage", (request) => handlers.sample(request.params));
      client.setNotificationHandler("notifications/tools/list_changed", (message) => handlers.log(message.params));
      client.setNotificationHandler("notifications/message", (message) => handlers.log(message.params));
      await client.connect(transport);
      return transport.protocolVersion;
    },
    listTools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    callTool: (name, args, onprogress) => client.callTool({ name, arguments: args }, { onprogress }),
    async close() {
      // Its close() alone sends no DELETE.
      await transport.terminateSession();
      await client.close();
      return "terminateSession()";
    },
  };
});
