// What the front ends have in common, whatever their client.
import { setTimeout as sleep } from "node:timers/promises";
import { obey, say } from "./orders.mjs";

// Left to themselves the clients wait for seconds before they come back.
export const soon = () => sleep(50);

// The newest version of each class that a front end has. It is a variable of its subscription, and is written down anew
// each time a client sends that: one that comes back, wherever that is, says what it has by then.
class Known {
  #versions = new Map();

  learn({ classId, classPerformance }) {
    if (classPerformance) this.#versions.set(classId, classPerformance.version);
    else this.#versions.delete(classId);
  }

  toJSON() {
    return Array.from(this.#versions, ([classId, version]) => ({ classId, version }));
  }
}

// Clients give GraphQL errors, the close of a socket, a response, or an Error.
export function described(error) {
  if (Array.isArray(error)) return { errors: error };
  const { code, reason, message, response } = error;
  return { code, reason, message, status: response?.status };
}

function sink(id, known) {
  return {
    next({ data, errors }) {
      const event = data && Object.values(data).find((value) => value?.classId);
      if (event) known.learn(event);
      say({ event: errors ? "error" : "next", id, data, errors });
    },
    error: (error) => say({ event: "error", id, ...described(error) }),
    complete: () => say({ event: "complete", id }),
  };
}

// `connect` makes a client, which has at least `subscribe(payload, sink)`, of options and of a holder of the token.
export async function subscriber(connect) {
  const known = new Map(), ends = new Map(), holder = {};
  let client;
  await obey({
    start({ token, ...options }) {
      holder.token = token;
      client = connect(options, holder);
    },
    token({ token }) {
      holder.token = token;
    },
    subscribe({ id, query, variables }) {
      if (!known.has(id)) known.set(id, new Known());
      const all = { ...variables, known: known.get(id) };
      ends.set(id, client.subscribe({ query, variables: all }, sink(id, known.get(id))));
    },
    end: ({ id }) => ends.get(id)(),
    query: async ({ id, ...payload }) => say({ event: "answer", id, ...(await client.query(payload)) }),
  });
}
