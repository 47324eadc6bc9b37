import { createClient, fetchExchange, subscriptionExchange } from "@urql/core";
import { onEnd, pipe, subscribe } from "wonka";
import { connect as connectSocket } from "./socket.mjs";
import { say } from "./orders.mjs";
import { subscriber } from "./subscriber.mjs";

function overSocket(options, holder) {
  const socket = connectSocket(options, holder);
  const forwardSubscription = (payload) => ({
    subscribe: (sink) => ({ unsubscribe: socket.subscribe(payload, sink) }),
  });
  return subscriptionExchange({ forwardSubscription });
}

async function spokenFetch(url, options) {
  const response = await fetch(url, options);
  say({ event: "response", accept: options.headers.accept, type: response.headers.get("content-type") });
  return response;
}

// Subscriptions go over a socket, or with `fetched` by the same fetch as queries.
function connect({ fetched = false, ...options }, holder) {
  const client = createClient({
    url: options.url + "/graphql",
    exchanges: fetched ? [fetchExchange] : [overSocket(options, holder), fetchExchange],
    fetch: spokenFetch,
    fetchSubscriptions: fetched,
    fetchOptions: () => ({ headers: { authorization: `Bearer ${holder.token}` } }),
  });
  const stream = fetched ? { url: options.url + "/graphql/stream" } : {};
  return {
    async query({ query, variables }) {
      const { data, error } = await client.query(query, variables);
      return { data, error: error?.message };
    },
    subscribe({ query, variables }, sink) {
      const source = client.subscription(query, variables, stream);
      const ended = onEnd(() => sink.complete());
      return pipe(source, ended, subscribe((result) => told(result, sink))).unsubscribe;
    },
  };
}

function told({ data, error, hasNext }, sink) {
  if (error?.networkError) sink.error(Object.assign(error.networkError, { response: error.response }));
  else if (!hasNext) return; // the one before, said again: there are no more
  else sink.next({ data, errors: error?.graphQLErrors });
}

await subscriber(connect);
