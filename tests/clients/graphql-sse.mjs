import { createClient } from "graphql-sse";
import { say } from "./orders.mjs";
import { soon, subscriber } from "./subscriber.mjs";

await subscriber(({ url, retryAttempts = 5 }, holder) =>
  createClient({
    url: url + "/graphql/stream",
    retryAttempts,
    retry: soon,
    headers: () => ({ authorization: `Bearer ${holder.token}` }),
    on: { connected: () => say({ event: "connected" }) },
  }),
);
