// A script is told what to do and says what happens, one JSON object a line.
import { createInterface } from "node:readline";

export function say(event) {
  process.stdout.write(JSON.stringify(event) + "\n");
}

// Until the end of its input; then it leaves at once, whatever is open.
export async function obey(orders) {
  say({ event: "ready" });
  for await (const line of createInterface({ input: process.stdin })) {
    const { order, ...details } = JSON.parse(line);
    await orders[order](details);
  }
  process.exit(0);
}
