import { connect } from "./socket.mjs";
import { subscriber } from "./subscriber.mjs";

await subscriber(connect);
