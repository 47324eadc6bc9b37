import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { say } from "./orders.mjs";
import { described, soon } from "./subscriber.mjs";

export function connect({ url, lazy = true, retryAttempts = 5 }, holder) {
  return createClient({
    url: url.replace("http", "ws") + "/graphql",
    lazy,
    retryAttempts,
    retryWait: soon,
    webSocketImpl: WebSocket,
    connectionParams: () => ({ Authorization: `Bearer ${holder.token}` }),
    onNonLazyError: (error) => say({ event: "given up", ...described(error) }),
    on: {
      connected: () => say({ event: "connected" }),
      closed: ({ code, reason }) => say({ event: "closed", code, reason }),
    },
  });
}
